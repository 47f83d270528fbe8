"""Several ranks: one that is lost, late, or of another opinion; and a run that goes on with more or fewer of them."""

import json
import os
import signal
from pathlib import Path

import pytest
from toys import ended_runs, faults

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
def test_gradients_that_were_not_averaged_are_noticed(tmp_path: Path) -> None:
    options = ("run.check_gradients=true", "stages.representation.steps=2")
    codes = ended_runs.finish(ended_runs.start(tmp_path, *options, ranks=2, change=faults.unwrapped))
    assert codes == [1, 1]
    assert "the ranks have different gradients" in ended_runs.said(tmp_path)
    assert "bridge." in ended_runs.said(tmp_path)


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
