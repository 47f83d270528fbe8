"""Several ranks: one that is lost, late, or of another opinion; and a run that goes on with more or fewer of them."""

import json
import os
import signal
from pathlib import Path

import pytest
from mmbridge_registry.discovery import discover
from toys import ended_runs, faults
from toys.one_file_plugin import HASTY, install

from mmbridge.config import load_recipe
from mmbridge.engine import alone
from mmbridge.lock import facts_of
from mmbridge.run_directory import RunDirectory

RUN = "blip2_tiny_opt"
STEPS = [("representation", step) for step in range(1, 7)] + [("generation", step) for step in range(1, 5)]


def lines(where: Path) -> list[dict]:
    return [json.loads(line) for line in (where / RUN / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_nan_on_one_rank_is_left_out_on_all(tmp_path: Path) -> None:
    given = [1, (2, 4, 5, 6)]
    codes = ended_runs.finish(ended_runs.start(tmp_path, ranks=2, change=faults.nan_on_one_rank, given=given))
    assert codes == [2, 2], "both stop after three in a row"
    skipped = {line["step"]: line["positions"] for line in lines(tmp_path) if "skipped" in line}
    assert skipped == {step: list(range(4 * step - 4, 4 * step)) for step in (2, 4, 5, 6)}
    assert "not finite 3 times in a row" in ended_runs.said(tmp_path)


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_ranks(tmp_path: Path) -> None:
    # Dropout is drawn per rank; a large eps keeps Adam from blowing up differences in the last bit.
    quiet = ("model.bridge.dropout=0", "stages.representation.optimizer.eps=0.01",
             "stages.generation.optimizer.eps=0.01", "run.checkpoint_every=100")  # fmt: skip
    told: dict[str, Path] = {}
    for name in ("one", "many"):
        told[name] = tmp_path / f"positions-{name}"
        told[name].mkdir()
    one = {"change": faults.signalled_and_noted, "given": [str(told["one"]), -1, 0, "", 0]}
    assert ended_runs.finish(ended_runs.start(tmp_path / "one", *quiet, **one)) == [0]
    for ranks, stage, step in ((2, "representation", 3), (4, "generation", 2), (1, "", 0)):
        given = [str(told["many"]), 0, signal.SIGTERM, stage, step]
        more = ("run.check_gradients=true", "run.workers=1") if ranks == 2 else ()
        more += ("stages.generation.micro_batch_size=2",) if ranks == 1 else ()
        processes = ended_runs.start(
            tmp_path / "many", *quiet, *more, ranks=ranks, change=faults.signalled_and_noted, given=given
        )
        assert ended_runs.finish(processes) == [0] * ranks, ended_runs.said(tmp_path / "many")
    for stage, step in STEPS:
        seen = [sorted(map(int, (told[name] / f"{stage}-{step}").read_text().split())) for name in told]
        assert seen[0] == seen[1] == list(range(4 * step - 4, 4 * step))
    for a, b in zip(lines(tmp_path / "one"), lines(tmp_path / "many"), strict=True):
        assert (a["stage"], a["step"]) == (b["stage"], b["step"])
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-6), (a, b)


@pytest.mark.slow
def test_all_ranks_go_on_from_the_same_checkpoint_or_none(tmp_path: Path) -> None:
    given = [1, signal.SIGTERM, "representation", 3]
    assert ended_runs.finish(ended_runs.start(tmp_path, ranks=2, change=faults.signalled, given=given)) == [0, 0]
    given = [str(tmp_path), 1, "unreadable"]
    codes = ended_runs.finish(ended_runs.start(tmp_path, ranks=2, change=faults.blind_and_noted, given=given))
    assert codes == [2, 2] and "step-00000003: stale file handle" in ended_runs.said(tmp_path)
    given = [str(tmp_path), 1, "behind"]
    codes = ended_runs.finish(ended_runs.start(tmp_path, ranks=2, change=faults.blind_and_noted, given=given))
    assert codes == [0, 0], ended_runs.said(tmp_path)
    for step in (4, 5, 6):
        noted = sorted(map(int, (tmp_path / f"representation-{step}").read_text().split()))
        assert noted == list(range(4 * step - 4, 4 * step)), "each rank its own half of the same batch"
    assert not (tmp_path / "representation-3").exists()


@pytest.mark.slow
def test_an_objective_that_goes_backward_by_itself_is_noticed(tmp_path: Path) -> None:
    """DDP averages all that the returned loss reaches; a plugin's own backward leaves each rank its own gradient."""
    install(tmp_path, "hasty", HASTY)
    stage = "stages.representation"
    options = ("run.check_gradients=true", f"~{stage}.objectives.itg", f"{stage}.objectives.hasty={{}}")
    given = [str(tmp_path)]
    codes = ended_runs.finish(ended_runs.start(tmp_path, *options, ranks=2, change=faults.with_plugin, given=given))
    assert codes == [1, 1]
    assert "the ranks have different gradients of" in ended_runs.said(tmp_path)
    assert "bridge." in ended_runs.said(tmp_path)
    assert not (tmp_path / RUN / "metrics.jsonl").exists(), "before anything was learned from it"


@pytest.mark.slow
def test_other_weights_are_refused_on_all_ranks_and_one_says_so(tmp_path: Path) -> None:
    found = discover()
    recipe = load_recipe("blip2_tiny_opt", [*ended_runs.SMALL, f"run.directory={tmp_path}"], found)
    lock = facts_of(recipe, found, {}, {}, alone(recipe.run))
    lock["weights"]["tiny/opt"]["content"] = "sha256 other"
    RunDirectory.of(recipe).write_start(recipe, {"weights": lock["weights"]})
    assert ended_runs.finish(ended_runs.start(tmp_path, ranks=2)) == [2, 2]
    assert "this run began with weights.tiny/opt.content = sha256 other, now it is " in ended_runs.said(tmp_path)
    assert "this run began" not in ended_runs.said(tmp_path, rank=1)


@pytest.mark.slow
def test_a_mistake_that_one_rank_alone_finds_is_said_with_its_number(tmp_path: Path) -> None:
    processes = ended_runs.start(tmp_path, "run.rank_timeout=15", ranks=2, change=faults.mistaken, given=[1])
    assert [ended_runs.finish([process])[0] for process in reversed(processes)] == [2, 1]
    assert "\nrank 1: host of rank 1: these weights are not on" in f"\n{ended_runs.said(tmp_path, rank=1)}"
    assert "these weights" not in ended_runs.said(tmp_path)


@pytest.mark.slow
def test_a_rank_that_hangs_is_named_and_given_up(tmp_path: Path) -> None:
    options = ("run.late_after=6", "run.rank_timeout=12")
    given = [1, "representation", 2]
    first, second = ended_runs.start(tmp_path, *options, ranks=2, change=faults.stopped, given=given)
    try:
        assert ended_runs.finish([first])[0] not in (0, None)
    finally:
        assert second.pid is not None
        os.kill(second.pid, signal.SIGKILL)
    assert "rank 1 is late at step 2: it does not answer" in ended_runs.said(tmp_path)
