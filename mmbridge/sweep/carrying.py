"""Carrying out a sweep: every run is `mmbridge run` in a process of its own, which may fail without the others."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from mmbridge.figures import duration
from mmbridge.leaving import Leaving
from mmbridge.sweep.declared import Planned, Sweep

LOOK = 0.1
"""Seconds between two looks at the processes."""


@dataclass
class Started:
    """A run under way."""

    run: Planned
    process: subprocess.Popen
    since: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, run: Planned) -> "Started":
        """Start a run, or go on with it; what it prints is added to a file beside its folder."""
        run.output.parent.mkdir(parents=True, exist_ok=True)
        with run.output.open("a") as output:
            command = [sys.executable, "-m", "mmbridge", *run.arguments]
            return cls(run, subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT))

    @property
    def has_ended(self) -> bool:
        """Say whether its process has ended."""
        return self.process.poll() is not None

    @property
    def took(self) -> str:
        """How long ago it was started."""
        return duration(time.monotonic() - self.since)

    def failure(self) -> str | None:
        """Say why a run that has ended is not finished; None if it is."""
        status = self.process.returncode
        if status < 0:
            return f"killed by {signal.Signals(-status).name}"
        if status:
            lines = self.run.output.read_text(errors="replace").splitlines()
            return f"exit code {status}: {next(filter(None, reversed(lines)), 'it printed nothing')}"
        return None if self.run.is_finished else "asked to end before it was finished"


def carry_out(sweep: Sweep, jobs: int, say: Callable[[str], None], ended: Callable[[], None]) -> dict[str, str]:
    """Carry out the runs that are not finished, `jobs` at a time; give why some still are not, by name.

    `ended` is called whenever a run has ended.

    Raises:
        AskedToEndError: Ctrl-C or SIGTERM; the runs under way have been told, have saved and ended.
    """
    waiting, leaving = [run for run in sweep.runs if not run.is_finished], Leaving()
    say(f"{sweep.folder}: {len(sweep.runs) - len(waiting)} of {len(sweep.runs)} runs are finished")
    failed: dict[str, str] = {}
    under_way: list[Started] = []
    told = 0
    with leaving.listening(), leaving.held():
        while under_way or (waiting and not leaving.asked):
            while waiting and len(under_way) < jobs and not leaving.asked:
                under_way.append(Started.of(waiting.pop(0)))
                say(f"{under_way[-1].run.name}: begins; prints to {under_way[-1].run.output}")
            for one in [one for one in under_way if one.has_ended]:
                under_way.remove(one)
                if why := one.failure():
                    failed[one.run.name] = why
                say(f"{one.run.name}: {why or 'finished'}, after {one.took}")
                ended()
            if leaving.asked != told:
                told = leaving.asked
                for one in under_way:
                    one.process.send_signal(told)
            time.sleep(LOOK)
    if leaving.asked:
        raise leaving.left("between two runs")
    return failed
