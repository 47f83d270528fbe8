"""The run directory: one process at a time, and nothing kept of steps that are taken again."""

import json
import multiprocessing
import os
import signal
from pathlib import Path

import pytest
from mmbridge_registry import UserError

from mmbridge.asked.journal import Journal
from mmbridge.forgetting import forget
from mmbridge.results import read_results
from mmbridge.run_directory import RunDirectory


def hold(path: Path, said: Path) -> None:
    with RunDirectory(path).alone():
        said.touch()
        signal.pause()


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=hold, args=(tmp_path / "run", tmp_path / "holds"))
    process.start()
    assert process.pid is not None
    while not (tmp_path / "holds").exists():
        process.join(0.05)
    said = rf"another process works in this run \(process {process.pid} on .*run\.name="
    with pytest.raises(UserError, match=said), RunDirectory(tmp_path / "run").alone():
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with RunDirectory(tmp_path / "run").alone():
        assert str(os.getpid()) in (tmp_path / "run" / ".running").read_text()


def test_what_is_taken_again_is_forgotten(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    steps = [("one", 10), ("one", 20), ("two", 5), ("two", 10), ("three", 5)]
    directory.metrics.write_text("".join(json.dumps({"stage": s, "step": n}) + "\n" for s, n in steps) + '{"cut sh')
    directory.evaluation.write_text(json.dumps({f"{s}/e{n}/metric": {"value": 1.0, "step": n} for s, n in steps}))
    for stage, step in steps:
        Journal(directory.answers(stage, f"e{step}"), {"step": step})
    forget(directory, "two", 5, later=["three"])
    kept = steps[:3]
    lines = [json.loads(line) for line in directory.metrics.read_text().splitlines()]
    assert [(line["stage"], line["step"]) for line in lines] == kept
    assert list(read_results(directory.evaluation)) == [f"{stage}/e{step}/metric" for stage, step in kept]
    journals = {(path.parent.name, path.stem) for path in tmp_path.glob("predictions/*/*.partial")}
    assert journals == {(stage, f"e{step}") for stage, step in kept}


def test_a_run_without_results_has_nothing_to_forget(tmp_path: Path) -> None:
    forget(RunDirectory(tmp_path), "one", 0, later=[])
    assert not list(tmp_path.iterdir())
