"""Leaving: a scheduler's SIGTERM or Ctrl-C asks the run to end; all ranks save once, at the same step, and go."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from mmbridge_registry import MmbridgeError

SIGNALS = (signal.SIGTERM, signal.SIGINT)
ONE_REQUEST = 3.0
"""Seconds in which a second signal is the same request: launchers pass on what a terminal sends to everybody."""


class AskedToEndError(MmbridgeError):
    """The run was asked to end and has ended in order; the exit code is 0 after SIGTERM and 130 after Ctrl-C."""

    def __init__(self, what: str, signum: int) -> None:
        super().__init__(what)
        self.exit_code = 0 if signum == signal.SIGTERM else 128 + signum


class Leaving:
    """What this process has heard. While it is `held`, the first signal only sets a flag; a later one ends at once."""

    def __init__(self) -> None:
        self.asked = 0
        """The signal that was heard, 0 if none."""
        self._held = False
        self._since = 0.0

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Answer signals; threads that are not the main one cannot, there nothing changes."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._hear) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold back: what stands inside looks at `asked` itself, where it can be ended in order."""
        self._held = True
        try:
            yield
        finally:
            self._held = False

    def left(self, when: str, signum: int | None = None) -> AskedToEndError:
        """Give the error to leave with."""
        signum = signum or self.asked
        return AskedToEndError(f"ended by {signal.Signals(signum).name} {when}; the same command goes on.", signum)

    def _hear(self, signum: int, _: FrameType | None) -> Any:
        now = time.monotonic()
        if self.asked and now - self._since > ONE_REQUEST:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        if not self.asked:
            self.asked, self._since = signum, now
            if not self._held:
                raise self.left("between two steps")
