"""The contract of trackers: where a run's curves are also drawn."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class TrackedRun:
    """The run that a tracker is told of."""

    name: str
    folder: Path
    """The tracker's own folder inside the run's directory. What it puts there is still there when the run goes on;
    nothing secret may be put there."""
    config: Mapping[str, Any]
    """The resolved config as plain values; secrets are masked."""


class Tracker(ABC):
    """Draws what `metrics.jsonl` and `evaluation.json` say; built on every rank, told on rank 0 only.

    Steps are counted over all stages and only grow. A tracker may raise whatever it likes (a network that is down, a
    disk that is full): it is turned off then, and the run goes on.
    """

    rewinds = False
    """Whether it can forget: a run that goes on takes the steps after its checkpoint again. A tracker that cannot is
    not told of them twice, which loses nothing: they come out the same."""

    @abstractmethod
    def start(self, run: TrackedRun, step: int) -> None:
        """Begin, or go on after `step` steps of which it was told; one that `rewinds` forgets everything after them."""

    @abstractmethod
    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Draw finite numbers at a step, by name: `<stage>/<metric>`, `<stage>/<evaluation>/<metric>`."""

    @abstractmethod
    def finish(self) -> None:
        """Write out what is held back, and close."""
