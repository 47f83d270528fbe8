"""The best checkpoint of a stage, by a metric that the recipe names: it stays when newer ones push others out."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

BEST = "best.json"


@dataclass(frozen=True)
class Best:
    """Which step was the best so far, and how good."""

    step: int
    metric: str
    value: float


def best_of(folder: Path) -> Best | None:
    """Read which of a stage's checkpoints is the best; None if none was judged."""
    try:
        return Best(**json.loads((folder / BEST).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def judge(folder: Path, found: Best, less_is_better: bool = False) -> None:
    """Note a checkpoint as the best if it is; of equals the first."""
    best = best_of(folder)
    if best is None or best.metric != found.metric or _better(found.value, best.value, less_is_better):
        folder.mkdir(parents=True, exist_ok=True)  # the checkpoint itself may still be on its way
        partial = folder / f"{BEST}.tmp"
        partial.write_text(json.dumps(asdict(found)))
        partial.replace(folder / BEST)


def _better(value: float, other: float, less_is_better: bool) -> bool:
    return value < other if less_is_better else value > other
