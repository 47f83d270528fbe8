"""The watchdog: when no step ends for a while, it says which rank the others wait for."""

# torch documents its stores, and the type checker does not find them.
# pyright: reportPrivateImportUsage=false

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import distributed

INTERVAL = 1.0
"""Seconds between two signs of life; a rank that gives none for five of them does not answer."""


class Watchdog:
    """A thread per rank gives signs of life; rank 0's reads those of all and speaks up."""

    def __init__(self, store: distributed.Store | None, rank: int, world_size: int, late_after: float) -> None:
        self.store = distributed.PrefixStore("watchdog", store) if store is not None else None
        self.rank, self.world_size, self.late_after = rank, world_size, late_after
        self.step = 0
        self._stop = threading.Event()
        self._resting = False
        self._alive = [(0.0, "")] * world_size

    @contextmanager
    def watching(self, say: Callable[[str], None]) -> Iterator[None]:
        """Watch while the work inside goes on; one process alone waits for nobody."""
        if self.store is None:
            yield
            return
        self.store.set(str(self.rank), "0 0")
        thread = threading.Thread(target=self._watch, args=(say,), name="watchdog", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def began(self, step: int) -> None:
        """Note that this rank has the data of `step` and computes."""
        self.step = step

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Say nothing while no steps are taken, as in an evaluation."""
        self._resting = True
        try:
            yield
        finally:
            self._resting = False

    def _watch(self, say: Callable[[str], None]) -> None:
        beats, steps, since, said = 0, [], time.monotonic(), False
        try:
            while not self._stop.wait(INTERVAL):
                beats += 1
                self._store.set(str(self.rank), f"{self.step} {beats}")
                if self.rank:
                    continue
                found = [self._store.get(str(rank)).decode() for rank in range(self.world_size)]
                now = time.monotonic()
                self._alive = [
                    old if old[1] == new else (now, new) for old, new in zip(self._alive, found, strict=True)
                ]
                if (newest := [int(beat.split()[0]) for beat in found]) != steps or self._resting:
                    steps, since, said = newest, now, False
                elif now - since > self.late_after and not said:
                    said = True
                    say(self._late(steps, now - since, now))
        except RuntimeError:  # the store is gone: the ranks are ending
            return

    @property
    def _store(self) -> distributed.Store:
        assert self.store is not None
        return self.store

    def _late(self, steps: list[int], seconds: float, now: float) -> str:
        """Name the ranks that do not answer, or else those that are behind the others."""
        silent = [rank for rank, (heard, _) in enumerate(self._alive) if now - heard > 5 * INTERVAL]
        behind = [rank for rank, step in enumerate(steps) if step < max(steps)]
        for ranks, why in ((silent, "it does not answer"), (behind, "it has not begun it")):
            if ranks:
                which = ", ".join(map(str, ranks))
                return f"rank {which} is late at step {max(steps)}: {why}, and the others wait since {seconds:.0f} s."
        return f"all ranks are in step {max(steps)} since {seconds:.0f} s."
