"""What ranks report to a quarantine that they share."""

from pathlib import Path

from mmbridge_registry import MmbridgeError, UserError

from mmbridge.collectives import Collectives
from mmbridge.data.quarantine import Quarantine
from mmbridge.data.samples import BadSample


def bad(*numbers: int) -> list[BadSample]:
    return [BadSample("web", f"{number}.jpg", "cut\u2028short", 100 + number) for number in numbers]


def report_by_turns(collectives: Collectives, path: str, limit: float) -> tuple[int, str, list[str], int]:
    """Report two bad records per step, one of them also met by the other rank; give how it ended."""
    quarantine = Quarantine(Path(path), limit, collectives)
    step = 0
    try:
        for step in range(20):
            own = bad(100 * collectives.rank + step, 1000 + step) if step % 2 == 0 else []
            quarantine.report(own, seen=8)
    except UserError as error:
        return step, str(error), [name for _, name in quarantine.bad], quarantine.seen
    return step, "", [name for _, name in quarantine.bad], quarantine.seen


def fail_on_the_last(collectives: Collectives, path: str) -> tuple[int, str, int]:
    """Let the last rank fail at step 3, and both in the end of nothing else."""
    quarantine = Quarantine(Path(path), 0.5, collectives)
    for step in range(5):
        last = collectives.rank == collectives.world_size - 1
        failure = UserError("ä is unreadable.", where="data.web", do="Mend it.") if last and step == 3 else None
        try:
            quarantine.report([], seen=0 if failure else 8, failure=failure)
        except MmbridgeError as error:
            return step, str(error), error.exit_code
    return -1, "", 0
