"""The trackers that come with mmbridge: TensorBoard's files read back, wandb and trackio by the calls they get."""

import importlib.util
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from mmbridge_registry import TrackedRun
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

CONFIG = {"model": {"bridge": {"name": "qformer", "queries": 32}}, "run": {"seed": 0}}


def tracked(folder: Path) -> TrackedRun:
    return TrackedRun("tiny", folder, CONFIG)


def test_tensorboard_forgets_what_comes_after_the_step_at_which_it_goes_on(tmp_path: Path) -> None:
    from mmbridge_tensorboard.tracker import TensorBoard

    for began, values in ((0, {1: 5.0, 2: 4.0, 3: 3.0}), (2, {3: 30.0, 4: 40.0})):
        tracker = TensorBoard()
        tracker.start(tracked(tmp_path), began)
        for step, value in values.items():
            tracker.log(step, {"representation/loss": value})
        # Not finished: what was logged has to be there even if the run is killed.
    drawn = EventAccumulator(str(tmp_path))
    drawn.Reload()
    events = [(event.step, event.value) for event in drawn.Scalars("representation/loss")]
    assert events == [(1, 5.0), (2, 4.0), (3, 30.0), (4, 40.0)]


class Recorder(ModuleType):
    """A library that only writes down how it is called: `init` as the real one is declared."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.calls: list[tuple[str, Any]] = []

    def init(self, **arguments: Any) -> "Recorder":
        self.calls.append(("init", arguments))
        return self

    def Settings(self, **settings: Any) -> dict[str, Any]:
        return settings

    def define_metric(self, name: str, step_metric: str | None = None) -> None:
        self.calls.append(("define_metric", (name, step_metric)))

    def log(self, numbers: dict[str, float], step: int | None = None) -> None:
        self.calls.append(("log", (numbers, step)))

    def finish(self) -> None:
        self.calls.append(("finish", None))

    def inits(self) -> list[dict[str, Any]]:
        return [arguments for name, arguments in self.calls if name == "init"]


@pytest.fixture(params=["wandb", "trackio"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    recorder = Recorder(request.param)
    monkeypatch.setitem(sys.modules, request.param, recorder)
    monkeypatch.delitem(sys.modules, f"mmbridge_{request.param}.tracker", raising=False)
    yield recorder
    sys.modules.pop(f"mmbridge_{request.param}.tracker", None)


def tracker_of(name: str, **options: Any) -> Any:
    if name == "wandb":
        from mmbridge_wandb import WandbOptions, build_wandb

        return build_wandb(WandbOptions(**options))
    from mmbridge_trackio import TrackioOptions, build_trackio

    return build_trackio(TrackioOptions(**options))


def test_a_run_that_goes_on_is_the_same_run_to_the_service(library: Recorder, tmp_path: Path) -> None:
    for _ in range(2):
        tracker = tracker_of(library.__name__, project="bridges")
        tracker.start(tracked(tmp_path), 0)
        tracker.finish()
    other = tmp_path / "other"
    other.mkdir()
    tracker_of(library.__name__, project="bridges").start(tracked(other), 0)
    first, second, third = library.inits()
    key = "id" if library.__name__ == "wandb" else "name"
    assert first[key] == second[key] != third[key]
    assert all(one["project"] == "bridges" and one["resume"] == "allow" and one["config"] == CONFIG
               for one in (first, second, third))  # fmt: skip


def test_numbers_are_logged_at_steps_of_ours(library: Recorder, tmp_path: Path) -> None:
    tracker = tracker_of(library.__name__)
    tracker.start(tracked(tmp_path), 0)
    tracker.log(7, {"generation/loss": 0.5})
    expected: Any = ({"generation/loss": 0.5}, 7)
    if library.__name__ == "wandb":  # it never goes back to a smaller step of its own
        expected = ({"generation/loss": 0.5, "step": 7}, None)
        assert ("define_metric", ("*", "step")) in library.calls
    assert ("log", expected) in library.calls


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed")
def test_wandb_really(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["mmbridge", "run", "my.yaml", "data.mine.token=hunter2"])
    for step in (1, 2):
        tracker = tracker_of("wandb", mode="offline")
        tracker.start(tracked(tmp_path), step - 1)
        tracker.log(step, {"representation/loss": 1 / step})
        tracker.finish()
    files = [path for path in tmp_path.rglob("*.wandb") if path.is_file() and not path.is_symlink()]
    assert len(files) == 2 and len({path.stem for path in files}) == 1
    text = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"representation/loss" in text and b"hunter2" not in text, "the command line is not sent"


@pytest.mark.skipif(importlib.util.find_spec("trackio") is None, reason="trackio is not installed")
def test_trackio_takes_these_arguments(tmp_path: Path) -> None:
    import trackio

    declared = set(inspect.signature(trackio.init).parameters)
    assert {"project", "name", "group", "space_id", "config", "resume", "embed",
            "auto_log_gpu", "auto_log_cpu"} <= declared  # fmt: skip
