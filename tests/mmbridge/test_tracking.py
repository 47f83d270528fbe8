"""Trackers: a killed run that goes on is drawn without a gap or a step twice; a tracker that fails stops nothing."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from mmbridge_registry import TRACKER, Catalog, Options, TrackedRun, Tracker, UserError
from mmbridge_registry.discovery import discover
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mmbridge.config import ConfigError, load_recipe
from mmbridge.recipe import Recipe
from mmbridge.run_directory import RunDirectory
from mmbridge.tracking import Followed, Tracking

SMALL = (
    "~evaluate",
    "run.threads=1",
    "run.workers=0",
    "run.log_every=1",
    "run.checkpoint_every=2",
    "data.captions.size=64",
    "data.questions.size=64",
    "stages.representation.steps=4",
    "stages.generation.steps=4",
    "stages.representation.batch_size=4",
    "stages.generation.batch_size=4",
)


@dataclass
class Diary(Tracker):
    """Writes down what it is told."""

    rewinds: bool = True
    fails_at: int = 10**9
    started: list[int] = field(default_factory=list)
    told: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    finished: int = 0

    def start(self, run: TrackedRun, step: int) -> None:
        self.started.append(step)

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        if step >= self.fails_at:
            raise OSError("no route\nto host")
        self.told.append((step, dict(numbers)))

    def finish(self) -> None:
        self.finished += 1


@dataclass
class Place:
    """A run's directory, with a diary that follows it; each `process` is a new start of the run."""

    recipe: Recipe
    diary: Diary
    said: list[str] = field(default_factory=list)

    @property
    def directory(self) -> RunDirectory:
        return RunDirectory.of(self.recipe)

    def process(self) -> Tracking:
        return Tracking(self.recipe, Catalog())

    def write(self, *lines: Mapping[str, Any]) -> None:
        self.directory.path.mkdir(parents=True, exist_ok=True)
        with self.directory.metrics.open("a") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    found, diary = discover(), Diary()
    found.catalog.offer(TRACKER, "diary", Options, lambda options: diary)
    return Place(
        load_recipe("blip2_tiny_opt", [*SMALL, f"run.directory={tmp_path}", "trackers={diary: {}}"], found), diary
    )


def line(stage: str, step: int, **values: float | None) -> dict[str, Any]:
    return {"stage": stage, "step": step, "samples": 4 * step, "loss": 1 / step, **values}


def steps(diary: Diary) -> list[int]:
    return [step for step, _ in diary.told]


def test_steps_are_counted_over_stages_and_numbers_carry_their_stage(place: Place) -> None:
    tracking = place.process()
    place.write(line("representation", 4), line("generation", 1, lm=2.5))
    tracking.follow("representation", 0, place.said.append)
    assert place.diary.told == [
        (4, {"representation/samples": 16.0, "representation/loss": 0.25}),
        (5, {"generation/samples": 4.0, "generation/loss": 1.0, "generation/lm": 2.5}),
    ]


def test_what_is_no_finite_number_is_left_out(place: Place) -> None:
    tracking = place.process()
    place.write({"stage": "representation", "step": 1, "skipped": "gradient not finite", "positions": [1, 2]},
                line("representation", 2, itc=None, itm=math.inf))  # fmt: skip
    tracking.follow("representation", 0, place.said.append)
    assert place.diary.told == [(2, {"representation/samples": 8.0, "representation/loss": 0.5})]


@pytest.mark.parametrize(("rewinds", "began", "then"), [(True, 2, [3, 4]), (False, 3, [4])])
def test_a_tracker_is_told_again_only_if_it_can_forget(
    place: Place, rewinds: bool, began: int, then: list[int]
) -> None:
    place.diary.rewinds = rewinds
    place.write(*(line("representation", step) for step in (1, 2, 3)))
    place.process().follow("representation", 0, place.said.append)
    assert steps(place.diary) == [1, 2, 3]
    place.directory.metrics.write_text(
        "".join(json.dumps(line("representation", step)) + "\n" for step in (1, 2, 3, 4))
    )
    place.diary.told.clear()
    place.process().follow("representation", 2, place.said.append)
    assert place.diary.started == [0, began] and steps(place.diary) == then


def test_a_tracker_that_comes_late_or_lost_its_folder_is_told_everything(place: Place) -> None:
    place.write(*(line("representation", step) for step in (1, 2, 3)))
    place.process().follow("representation", 2, place.said.append)
    assert place.diary.started == [0] and steps(place.diary) == [1, 2, 3]


def test_evaluations_are_told_once_at_their_step(place: Place) -> None:
    tracking = place.process()
    result = {"value": 0.5, "chance": 0.1, "n": 8, "step": 4}
    place.write(line("representation", 4))
    tracking.follow("representation", 0, place.said.append)
    place.directory.evaluation.write_text(
        json.dumps({"representation/search/r1": result, "representation/search/r5": {**result, "value": 0.75}})
    )
    for _ in range(2):
        tracking.follow("representation", 0, place.said.append)
    assert place.diary.told[1:] == [(4, {"representation/search/r1": 0.5}), (4, {"representation/search/r5": 0.75})]


def test_a_tracker_that_fails_is_off_in_one_line_and_the_others_go_on(place: Place) -> None:
    place.diary.fails_at = 2
    other = Diary()
    tracking = place.process()
    tracking.followed.append(Followed("other", other, place.directory.trackers / "other"))
    for step in (1, 2, 3):
        place.write(line("representation", step))
        tracking.follow("representation", 0, place.said.append)
    tracking.finish(place.said.append)
    assert place.said == ["tracker diary is off (OSError: no route to host); metrics.jsonl has everything"]
    assert steps(place.diary) == [1] and steps(other) == [1, 2, 3]
    assert (place.diary.finished, other.finished) == (0, 1)


def test_results_that_cannot_be_read_turn_trackers_off_and_stop_nothing(place: Place) -> None:
    tracking = place.process()
    place.write(line("representation", 1))
    place.directory.evaluation.write_text("{")
    tracking.follow("representation", 0, place.said.append)
    assert len(place.said) == 1 and "evaluation.json" in place.said[0]


def test_a_missing_library_is_found_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = discover()
    for tracker in ("tensorboard", "wandb", "trackio"):
        monkeypatch.setitem(sys.modules, f"mmbridge_{tracker}.tracker", None)
        recipe = load_recipe("blip2_tiny_opt", [f"run.directory={tmp_path}", f"trackers={{{tracker}: {{}}}}"], found)
        with pytest.raises(UserError, match=rf"pip install mmbridge\[{tracker}\]"):
            Tracking(recipe, found.catalog)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("trackers", "said"),
    [("{tensorbord: {}}", "did you mean 'tensorboard'"), ("{wandb: {projekt: x}}", "did you mean 'project'")],
)
def test_mistakes_in_the_section_are_explained(trackers: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_recipe("blip2_tiny_opt", [f"trackers={trackers}"], discover())


def run(where: Path, *, kill_after: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run the miniature in a process of its own, which kills itself hard once it has logged so many steps."""
    code = (
        "import os, signal, sys\n"
        "from mmbridge import tracking\n"
        "follow = tracking.Tracking.follow\n"
        "def counted(self, stage, first, say, seen=[]):\n"
        "    follow(self, stage, first, say)\n"
        "    seen.append(stage)\n"
        f"    if len(seen) == {kill_after}: os.kill(os.getpid(), signal.SIGKILL)\n"
        "tracking.Tracking.follow = counted\n"
        "from mmbridge.cli import main\n"
        "main(sys.argv[1:])\n"
    )
    overrides = [*SMALL, f"run.directory={where}", "run.name=killed", "trackers={tensorboard: {}}"]
    command = [sys.executable, "-c", code, "run", "blip2_tiny_opt", *overrides]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)


@pytest.mark.slow
def test_a_killed_run_that_goes_on_is_drawn_once(tmp_path: Path) -> None:
    # Killed after step 7 of 8: the third of the second stage, whose newest checkpoint is that of its second.
    assert run(tmp_path, kill_after=7).returncode == -9
    done = run(tmp_path)
    assert done.returncode == 0, done.stderr
    directory = RunDirectory(tmp_path / "killed")
    lines = [json.loads(text) for text in directory.metrics.read_text().splitlines()]
    assert [(one["stage"], one["step"]) for one in lines] == [
        (stage, step) for stage in ("representation", "generation") for step in (1, 2, 3, 4)
    ]
    drawn = EventAccumulator(str(directory.trackers / "tensorboard"))
    drawn.Reload()
    assert len(list((directory.trackers / "tensorboard").glob("events*"))) == 2
    for stage, before in (("representation", 0), ("generation", 4)):
        events = drawn.Scalars(f"{stage}/loss")
        assert [(event.step, event.value) for event in events] == [
            (before + one["step"], pytest.approx(one["loss"], rel=1e-6)) for one in lines if one["stage"] == stage
        ]
