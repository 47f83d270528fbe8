"""Saving in a thread: values as they were, one at a time, told when it stands, and what a full disk does."""

import errno
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmbridge_registry import UserError
from torch import nn
from toys import ended_runs, faults
from toys.tiny_run import write_run

import mmbridge
from mmbridge import checkpoint
from mmbridge.best import best_of
from mmbridge.collectives import Collectives
from mmbridge.engine import Engine
from mmbridge.saving import Saving

STAGE = "only"


class Stage:
    """A stage under way, as far as saving knows one."""

    def __init__(self, folder: Path, keep: int = 2, best: str | None = None) -> None:
        self.layer = nn.Linear(2, 1)
        self.optimizer = torch.optim.AdamW(self.layer.parameters(), lr=0.1)
        self.told: list[int] = []
        self.said: list[str] = []
        self.directory = SimpleNamespace(
            path=folder, checkpoints=lambda _: folder / STAGE, evaluation=folder / "evaluation.json"
        )
        every = SimpleNamespace(stages=(STAGE,), every=5)
        recipe = SimpleNamespace(
            run=SimpleNamespace(keep_checkpoints=keep, keep_best=best, checkpoint_every=10),
            stages={STAGE: SimpleNamespace(steps=40)},
            evaluate={"look": every} if best else {},
        )
        running = SimpleNamespace(
            recipe=recipe, directory=self.directory, engine=Engine(torch.device("cpu"), Collectives(), None),
            model=SimpleNamespace(kept=lambda: dict(self.layer.state_dict(keep_vars=True))),
            say=self.said.append, tell=self._tell,
        )  # fmt: skip
        training = SimpleNamespace(
            name=STAGE, first=0, stage=recipe.stages[STAGE], trained=dict(self.layer.named_parameters()),
            optimizer=self.optimizer, state=lambda model, step: {"step": step},
        )  # fmt: skip
        self.saving = Saving(running, training)  # type: ignore[arg-type]

    def _tell(self, hook: str, **facts: Any) -> None:
        assert hook == "checkpoint_saved" and threading.current_thread() is threading.main_thread()
        checkpoint.read(facts["checkpoint"])
        self.told.append(facts["step"])

    def learn(self) -> None:
        self.layer(torch.ones(1, 2)).sum().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def kept(self) -> list[int]:
        folders = (self.directory.path / STAGE).glob("step-*")
        return sorted(int(path.name[5:]) for path in folders if path.suffix != ".tmp")


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A disk that writes nothing before the event is set."""
    free, fill = threading.Event(), checkpoint._fill
    running: list[int] = []

    def slow(partial: Path, snapshot: checkpoint.Snapshot) -> None:
        running.append(1)
        assert len(running) == 1, "two at a time"
        assert free.wait(30)
        fill(partial, snapshot)
        running.pop()

    monkeypatch.setattr(checkpoint, "_fill", slow)
    yield free
    free.set()


def test_what_is_saved_are_the_values_at_the_call(stage: Stage, disk: threading.Event) -> None:
    with stage.saving as saving:
        stage.learn()
        before = {name: tensor.clone() for name, tensor in stage.layer.state_dict().items()}
        moment = stage.optimizer.state[stage.layer.weight]["exp_avg"].clone()
        saving.save(10)
        stage.learn()
        assert not stage.told and not stage.kept()
        disk.set()
        saving.stands()
    found, _ = checkpoint.newest(stage.directory.path / STAGE)
    assert found is not None and stage.told == [10]
    assert all(torch.equal(before[name], tensor) for name, tensor in found.weights().items())
    assert not torch.equal(before["weight"], stage.layer.weight)
    optimizer = torch.optim.AdamW(stage.layer.parameters())
    checkpoint.load_optimizer(found, dict(stage.layer.named_parameters()), optimizer)
    assert torch.equal(optimizer.state[stage.layer.weight]["exp_avg"], moment)


def test_one_is_written_at_a_time(stage: Stage, disk: threading.Event) -> None:
    with stage.saving as saving:
        saving.save(10)
        threading.Timer(0.2, disk.set).start()
        saving.save(20)
        assert stage.told == [10], "the second began when the first stood"
        saving.save(20)
        saving.stands()
    assert stage.told == [10, 20]


def test_whoever_leaves_waits_for_the_disk(stage: Stage, disk: threading.Event) -> None:
    with pytest.raises(KeyboardInterrupt), stage.saving as saving:
        saving.save(10)
        threading.Timer(0.2, disk.set).start()
        raise KeyboardInterrupt
    assert stage.kept() == [10]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_disk_that_does_not_take_it(stage: Stage, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(partial: Path, _: object) -> None:
        (partial / checkpoint.WEIGHTS).write_bytes(b"half")
        raise OSError(number, os.strerror(number))

    fill = checkpoint._fill
    with stage.saving as saving:
        saving.save(10)
        saving.published()
        monkeypatch.setattr(checkpoint, "_fill", fail)
        saving.save(20)
        saving.published()
        assert os.strerror(number) in stage.said[0] and "step 10 stands" in stage.said[0]
        with pytest.raises(UserError, match="step 20 could not be written"):
            saving.stands()
        monkeypatch.setattr(checkpoint, "_fill", fill)
        saving.save(30)
        saving.stands()
    assert stage.kept() == [10, 30] and stage.told == [10, 30]


def test_a_disk_that_never_took_one_stops_the_run(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "_fill", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    with stage.saving as saving:
        saving.save(10)
        with pytest.raises(UserError, match=r"step 10 could not be written \(full\).*Make room"):
            saving.save(20)
    assert stage.kept() == []


@pytest.mark.parametrize("stated", [{}, {"less_is_better": False}, {"less_is_better": True}], ids=str)
def test_the_best_stays_beyond_the_newest(stated: dict[str, bool], tmp_path: Path) -> None:
    stage = Stage(tmp_path, keep=1, best="look/accuracy")
    values = {5: 0.2, 10: 0.9, 15: 0.4, 20: 0.9, 25: 0.1}
    if stated.get("less_is_better"):
        values = {step: -value for step, value in values.items()}
    with stage.saving as saving:
        for step, value in values.items():
            saving.after(step)
            results = {f"{STAGE}/look/accuracy": {"value": value, "step": step} | stated}
            stage.directory.evaluation.write_text(json.dumps(results))
            saving.evaluated(step - 1)  # results of another step say nothing about this one
            saving.evaluated(step)
        saving.stands()
    assert stage.kept() == [10, 25], "of equals the first, and the newest"
    best = best_of(tmp_path / STAGE)
    assert best is not None and (best.step, best.value) == (10, values[10])
    found, _ = checkpoint.newest(tmp_path / STAGE)
    assert found is not None and found.step == 25


def test_a_number_that_its_evaluation_has_not_is_named(tmp_path: Path) -> None:
    stage = Stage(tmp_path, best="look/acuracy")
    with stage.saving as saving:
        saving.after(5)
        results = {f"{STAGE}/look/accuracy": {"value": 0.2, "step": 5}}
        stage.directory.evaluation.write_text(json.dumps(results))
        saving.evaluated(5)
    assert "did you mean 'accuracy'?" in stage.said[-1]
    assert best_of(tmp_path / STAGE) is None


@pytest.mark.slow
def test_any_checkpoint_can_be_loaded_by_its_path(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    (older,) = (run / "checkpoints" / "representation").iterdir()
    assert mmbridge.load(older).bridged.learned == set(checkpoint.read(older).weights())
    (older / checkpoint.WEIGHTS).write_bytes(b"harmed")
    with pytest.raises(UserError, match="differs from the manifest"):
        mmbridge.load(older)


@pytest.mark.slow
def test_a_full_disk_in_a_run(tmp_path: Path) -> None:
    full = {"change": faults.room_until, "given": ["representation", 3, 100_000]}
    assert ended_runs.finish(ended_runs.start(tmp_path, **full)) == [2]
    said, folder = ended_runs.said(tmp_path), tmp_path / "blip2_tiny_opt" / "checkpoints" / "representation"
    assert "the checkpoint of step 4 could not be written" in said and "that of step 2 stands" in said
    assert "the checkpoint of step 6 could not be written" in said and "Traceback" not in said
    assert [path.name for path in folder.iterdir()] == ["step-00000002"]
    assert ended_runs.finish(ended_runs.start(tmp_path)) == [0]
