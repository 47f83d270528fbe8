"""Tracking: trackers follow `metrics.jsonl` and `evaluation.json`, which are the truth, wherever a run goes on."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from math import isfinite
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

from mmbridge_registry import Catalog, MmbridgeError, TrackedRun, Tracker

from mmbridge.building import build
from mmbridge.recipe import Recipe
from mmbridge.results import read_results
from mmbridge.run_directory import RunDirectory

TOLD = "told.json"
METRICS, EVALUATION = "metrics", "evaluation"
Say = Callable[[str], None]


class Entry(NamedTuple):
    """What a tracker is told at once; the step is counted over all stages."""

    source: str
    step: int
    numbers: dict[str, float]


@dataclass
class Followed:
    """A tracker, and the last step of either file that it was told of."""

    name: str
    tracker: Tracker
    folder: Path
    told: dict[str, int] = field(default_factory=lambda: {METRICS: 0, EVALUATION: 0})

    def start(self, name: str, config: Mapping[str, Any], step: int) -> None:
        """Begin, or go on with a run that is now after `step` steps."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if (self.folder / TOLD).exists():
            self.told |= json.loads((self.folder / TOLD).read_text())
        if self.tracker.rewinds:
            self.told = {source: min(known, step) for source, known in self.told.items()}
        self.tracker.start(TrackedRun(name, self.folder, config), self.told[METRICS])

    def tell(self, entries: list[Entry]) -> None:
        """Tell the tracker what it does not know yet, and remember that it does."""
        told = dict(self.told)
        for source, step, numbers in entries:
            if step > self.told[source]:
                self.tracker.log(step, numbers)
                told[source] = max(told[source], step)
        if told != self.told:
            self.told = told
            (self.folder / TOLD).write_text(json.dumps(told))


class Tracking:
    """The trackers of a run. One that raises is turned off, in one line, and the run goes on."""

    def __init__(self, recipe: Recipe, catalog: Catalog) -> None:
        """Build the trackers; nothing is written.

        Raises:
            UserError: a tracker's library is not installed.
        """
        self.config, self.directory = recipe.resolved, RunDirectory.of(recipe)
        self.followed = [
            Followed(name, build(chosen, catalog), self.directory.trackers / name)
            for name, chosen in recipe.trackers.items()
        ]
        steps = accumulate((stage.steps for stage in recipe.stages.values()), initial=0)
        self.before = dict(zip(recipe.stages, steps, strict=False))
        self.started = False
        self.read = 0

    def follow(self, stage: str, first: int, say: Say) -> None:
        """Tell the trackers what was written; before that, the first time, that `stage` goes on after `first` steps."""
        if not self.followed:
            return
        if not self.started:
            self.started = True
            name, step = self.directory.path.name, self.before[stage] + first
            self._each(lambda one: one.start(name, self.config, step), say)
        try:
            entries = list(self._new())
        except MmbridgeError as error:
            say(f"trackers are off ({error})")
            self.followed.clear()
            return
        self._each(lambda one: one.tell(entries), say)

    def finish(self, say: Say) -> None:
        """Let the trackers write what they hold back."""
        if self.started:
            self._each(lambda one: one.tracker.finish(), say)

    def _each(self, do: Callable[[Followed], None], say: Say) -> None:
        for one in list(self.followed):
            try:
                do(one)
            except Exception as error:  # whatever a network, a disk or a stranger's code raises
                self.followed.remove(one)
                reason = " ".join(f"{type(error).__name__}: {error}".split())
                say(f"tracker {one.name} is off ({reason}); {self.directory.metrics.name} has everything")

    def _new(self) -> Iterator[Entry]:
        """Read on in the metrics, and the evaluations by step."""
        for line in self._lines():
            yield from self._entry(METRICS, line["stage"], line["step"], line)
        results = read_results(self.directory.evaluation)
        for key, result in sorted(results.items(), key=lambda one: one[1]["step"]):
            stage, name = key.split("/", 1)
            yield from self._entry(EVALUATION, stage, result["step"], {name: result["value"]})

    def _lines(self) -> Iterator[dict[str, Any]]:
        if self.directory.metrics.exists():
            with self.directory.metrics.open("rb") as file:
                file.seek(self.read)
                for text in file:
                    self.read += len(text)
                    yield json.loads(text)

    def _entry(self, source: str, stage: str, step: int, values: Mapping[str, Any]) -> Iterator[Entry]:
        numbers = {
            f"{stage}/{key}": float(value)
            for key, value in values.items()
            if key != "step" and isinstance(value, Real) and isfinite(value)
        }
        if stage in self.before and not numbers.keys() <= {f"{stage}/samples"}:
            yield Entry(source, self.before[stage] + step, numbers)
