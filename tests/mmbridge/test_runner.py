"""The run as a whole, on the shipped towers at a few steps: stages, hand-off, resume, refusal, faults."""

import io
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from mmbridge_registry import UserError, hookimpl
from mmbridge_registry.discovery import discover
from rich.console import Console
from safetensors.torch import load_file

from mmbridge import checkpoint
from mmbridge.config import load_recipe
from mmbridge.run_directory import RunDirectory
from mmbridge.runner import run

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
class Told:
    """What a run said, and the calls of its hooks."""

    console: Console
    calls: list[str]
    at_step: Callable[[str, int], None] = lambda stage, step: None

    @hookimpl
    def run_started(self, run: Path) -> None:
        self.calls.append("run_started")

    @hookimpl
    def stage_started(self, run: Path, stage: str, step: int) -> None:
        self.calls.append(f"stage_started {stage} {step}")

    @hookimpl
    def step_finished(self, run: Path, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        self.calls.append(f"step_finished {stage} {step}")
        self.at_step(stage, step)

    @hookimpl
    def checkpoint_saved(self, run: Path, stage: str, step: int, checkpoint: Path) -> None:
        self.calls.append(f"checkpoint_saved {stage} {step} {checkpoint.exists()}")

    @hookimpl
    def stage_finished(self, run: Path, stage: str) -> None:
        self.calls.append(f"stage_finished {stage}")

    @hookimpl
    def run_finished(self, run: Path) -> None:
        self.calls.append("run_finished")

    @property
    def text(self) -> str:
        return self.console.export_text(clear=False)


def go(
    where: Path, *overrides: str, config: str = "blip2_tiny_opt", at_step: Callable[[str, int], None] | None = None
) -> tuple[RunDirectory, Told]:
    found = discover()
    told = Told(Console(record=True, width=200, file=io.StringIO()), [])
    if at_step:
        told.at_step = at_step
    found.hooks.register(told)
    recipe = load_recipe(config, [*SMALL, f"run.directory={where}", *overrides], found)
    return run(recipe, found, told.console), told


def lines(directory: RunDirectory) -> list[dict]:
    return [json.loads(line) for line in directory.metrics.read_text().splitlines()]


def weights(directory: RunDirectory, stage: str) -> dict[str, torch.Tensor]:
    found, _ = checkpoint.newest(directory.checkpoints(stage))
    assert found is not None
    return found.weights()


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDirectory, Told]:
    return go(tmp_path_factory.mktemp("straight"))


def test_both_stages_run_in_order_and_leave_what_they_should(straight: tuple[RunDirectory, Told]) -> None:
    directory, told = straight
    assert [call for call in told.calls if not call.startswith("step_finished")] == [
        "run_started",
        "stage_started representation 0",
        "checkpoint_saved representation 2 True",
        "checkpoint_saved representation 4 True",
        "stage_finished representation",
        "stage_started generation 0",
        "checkpoint_saved generation 2 True",
        "checkpoint_saved generation 4 True",
        "stage_finished generation",
        "run_finished",
    ]
    assert [(line["stage"], line["step"]) for line in lines(directory)] == [
        (stage, step) for stage in ("representation", "generation") for step in (1, 2, 3, 4)
    ]
    for file in (directory.config, directory.resolved, directory.lock, directory.report):
        assert file.stat().st_size > 0


def test_the_hand_off_names_what_moved_and_what_is_new(straight: tuple[RunDirectory, Told]) -> None:
    directory, told = straight
    assert "0 unused" in told.text and "2 new: projection.bias, projection.weight" in told.text
    first, second = weights(directory, "representation"), weights(directory, "generation")
    assert set(second) - set(first) == {"projection.bias", "projection.weight"}


def test_the_text_branch_is_not_trained_in_the_second_stage_but_kept(straight: tuple[RunDirectory, Told]) -> None:
    directory, _ = straight
    first, second = weights(directory, "representation"), weights(directory, "generation")
    same = {name for name in first if torch.equal(first[name], second[name])}
    assert any("temperature" in name for name in same) and any("match_head" in name for name in same)
    assert not any("queries" in name for name in same)


@pytest.mark.parametrize("at", [("representation", 1), ("representation", 3), ("generation", 1), ("generation", 4)])
def test_a_run_that_was_stopped_goes_on_bit_for_bit(
    straight: tuple[RunDirectory, Told], tmp_path: Path, at: tuple[str, int]
) -> None:
    def stop(stage: str, step: int) -> None:
        if (stage, step) == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go(tmp_path, at_step=stop)
    directory, _ = go(tmp_path, "run.workers=1")  # another number of workers changes nothing
    for stage in ("representation", "generation"):
        expected = weights(straight[0], stage)
        assert all(torch.equal(expected[name], tensor) for name, tensor in weights(directory, stage).items())
    times = {"seconds", "samples_per_second", "data_wait"}
    for once, line in zip(lines(straight[0]), lines(directory), strict=True):
        assert {key: line[key] for key in line.keys() - times} == {key: once[key] for key in once.keys() - times}


def test_a_finished_run_says_so_and_changes_nothing(tmp_path: Path) -> None:
    directory, _ = go(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in directory.path.glob("checkpoints/*/*/*")}
    _, told = go(tmp_path)
    assert "representation: finished" in told.text and "generation: finished" in told.text
    assert {path: path.stat().st_mtime_ns for path in directory.path.glob("checkpoints/*/*/*")} == before


def test_another_recipe_in_the_same_directory_is_refused(straight: tuple[RunDirectory, Told]) -> None:
    where = straight[0].path.parent
    with pytest.raises(UserError, match=r"stages\.generation\.optimizer\.lr.*run\.name="):
        go(where, "stages.generation.optimizer.lr=7e-4")


def test_a_harmed_checkpoint_costs_an_interval_and_is_named(tmp_path: Path) -> None:
    def stop(stage: str, step: int) -> None:
        if (stage, step) == ("generation", 3):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go(tmp_path, "run.checkpoint_every=1", at_step=stop)
    harmed = tmp_path / "blip2_tiny_opt" / "checkpoints" / "generation" / "step-00000002" / checkpoint.WEIGHTS
    harmed.write_bytes(harmed.read_bytes()[:100])
    _, told = go(tmp_path, "run.checkpoint_every=1")
    assert "passed over" in told.text and "step-00000002" in told.text
    assert "stage_started generation 1" in told.calls


def test_micro_batches_leave_the_metrics_as_they_are(tmp_path: Path) -> None:
    short = ("model.bridge.dropout=0", "stages.representation.steps=2", "stages.generation.steps=2")
    whole, _ = go(tmp_path / "whole", *short)
    sizes = ("stages.representation.micro_batch_size=2", "stages.generation.micro_batch_size=1")
    parts, _ = go(tmp_path / "parts", *short, *sizes)
    times = {"seconds", "samples_per_second", "data_wait"}
    for one, other in zip(lines(whole), lines(parts), strict=True):
        assert one.keys() == other.keys()
        for key in one.keys() - times - {"stage"}:
            assert other[key] == pytest.approx(one[key], rel=1e-4), key


def test_three_nonfinite_gradients_stop_the_run_and_weights_stay(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not finite 3 times in a row"):
        go(tmp_path, "stages.representation.optimizer.lr=1e30", "stages.representation.schedule.warmup_lr=1e30",
           "stages.representation.steps=12", "run.checkpoint_every=100")  # fmt: skip
    directory = RunDirectory(tmp_path / "blip2_tiny_opt")
    skipped = [line for line in lines(directory) if "skipped" in line]
    assert len(skipped) == 3 and all(len(line["positions"]) == 4 for line in skipped)
    assert "NaN" not in directory.metrics.read_text()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("stages.representation.micro_batch_size=3", "micro_batch_size"),
        ("model.language_model.weights=facebook/opt-2.7b", "mmbridge fetch"),
        ("stages.representation.start=/nowhere", "/nowhere"),
        ("run.device=cuda", "CUDA"),
    ],
)
def test_mistakes_are_found_before_anything_is_written(tmp_path: Path, override: str, said: str) -> None:
    if override == "run.device=cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(UserError, match=said):
        go(tmp_path / "runs", override)
    assert not (tmp_path / "runs").exists()


def test_what_is_trained_and_not_reached_is_named_at_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmbridge_objectives.itc.ImageTextContrast.passes", frozenset({"contrast", "match"}))
    with pytest.raises(UserError, match=r"no gradient has reached \d+ of the \d+ tensors that it trains \(bridge\."):
        go(tmp_path, "~stages.representation.objectives.itm", "~stages.representation.objectives.itg")
    assert not list(tmp_path.glob("**/step-*"))


def test_an_objective_with_parameters_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learned = iter([torch.nn.Parameter(torch.ones(1))])
    monkeypatch.setattr("mmbridge_objectives.itg.ImageGroundedGeneration.parameters", lambda self: learned)
    with pytest.raises(UserError, match=r"objectives\.itg: 'itg' has parameters of its own"):
        go(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_two_ranks_under_torchrun_train_as_one_does(tmp_path: Path) -> None:
    quiet = ("model.bridge.dropout=0",)  # dropout is drawn per rank
    one, _ = go(tmp_path / "one", *quiet)
    overrides = [*SMALL, *quiet, f"run.directory={tmp_path / 'two'}", "run.device=cpu"]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "mmbridge"]
    done = subprocess.run(
        [*launch, "run", "blip2_tiny_opt", *overrides], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    two = RunDirectory(tmp_path / "two" / "blip2_tiny_opt")
    for a, b in zip(lines(one), lines(two), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=2e-4), (a, b)
    first = (lines(one)[0], lines(two)[0])
    assert first[0]["loss"] == pytest.approx(first[1]["loss"], rel=1e-6)
    assert first[0]["grad_norm"] == pytest.approx(first[1]["grad_norm"], rel=1e-5)
    assert set(load_file(two.checkpoints("generation") / "step-00000004" / checkpoint.WEIGHTS)) == set(
        weights(one, "generation")
    )
