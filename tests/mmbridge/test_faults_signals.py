"""SIGTERM and Ctrl-C: all ranks save once, at the same step, and leave; the same command goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from toys import ended_runs, faults

from mmbridge.leaving import AskedToEndError, Leaving

RUN = "blip2_tiny_opt"
CAPTIONS = ("~evaluate.retrieval", "~evaluate.answers", "~evaluate.captions_of_unseen_pairs",
            "evaluate.captions.stages=[generation]", "evaluate.captions.every=2",
            "evaluate.captions.data.size=140", "evaluate.captions.shuffled=false")  # fmt: skip


def saved(where: Path, stage: str) -> list[int]:
    return sorted(int(path.name.removeprefix("step-")) for path in (where / RUN / "checkpoints" / stage).glob("step-*"))


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 250
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ranks", "number", "code", "workers"),
    [(1, signal.SIGTERM, 0, 4), (2, signal.SIGTERM, 0, 0), (1, signal.SIGINT, 130, 0)],
    ids=["four workers", "one of two ranks", "Ctrl-C"],
)
def test_a_signal_in_training(ranks: int, number: int, code: int, workers: int, tmp_path: Path) -> None:
    options = ("run.checkpoint_every=100", f"run.workers={workers}")
    given = [ranks - 1, number, "representation", 3]
    codes = ended_runs.finish(ended_runs.start(tmp_path, *options, ranks=ranks, change=faults.signalled, given=given))
    assert codes == [code] * ranks
    assert saved(tmp_path, "representation") == [3]
    assert "after step 3 of representation, which is saved; the same command goes on" in ended_runs.said(tmp_path)
    for rank in range(ranks):
        log = (tmp_path / RUN / "logs" / f"rank-{rank}.log").read_text()
        assert "representation 3:" in log and "representation 4:" not in log and "Traceback" not in log
    assert ended_runs.finish(ended_runs.start(tmp_path, *options)) == [0]
    assert "representation: goes on after step 3" in ended_runs.said(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_signal_in_an_evaluation(ranks: int, tmp_path: Path) -> None:
    options = tuple(option for option in ended_runs.SMALL if option != "~evaluate") + CAPTIONS
    mark = tmp_path / "begun"
    change = {"change": faults.slow_evaluation, "given": [str(mark)], "all_options": options}
    processes = ended_runs.start(tmp_path, ranks=ranks, **change)
    wait_for(mark)
    for process in processes:
        assert process.pid is not None
        os.kill(process.pid, signal.SIGTERM)
    assert ended_runs.finish(processes) == [0] * ranks
    assert saved(tmp_path, "generation") == [2]
    assert not (tmp_path / RUN / "evaluation.json").exists()
    kept = tmp_path / RUN / "predictions" / "generation" / "captions.partial" / "call-001"
    assert len(list(kept.glob("part-*"))) == 2 * ranks  # of five, a round of two on each rank
    if ranks == 1:  # the evaluation that was cut short goes on before the next step
        given = [str(tmp_path / "asked"), 0, signal.SIGTERM, "generation", 3]
        again = ended_runs.start(tmp_path, change=faults.counted_captions, given=given, all_options=options)
        assert ended_runs.finish(again) == [0]
        assert (tmp_path / "asked").read_text() == "3"
        results = json.loads((tmp_path / RUN / "evaluation.json").read_text())
        assert {result["step"] for result in results.values()} == {2}
        assert not kept.exists()


def test_only_what_is_held_goes_on_after_a_signal() -> None:
    leaving = Leaving()
    with leaving.listening():
        with pytest.raises(AskedToEndError):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        assert leaving.asked == signal.SIGTERM
    other = Leaving()
    with other.listening(), other.held():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)  # a launcher passes on what the terminal has sent already
    assert other.asked == signal.SIGINT
    assert other.left("now").exit_code == 130 and leaving.left("now").exit_code == 0


def test_a_second_signal_ends_at_once() -> None:
    program = """
import os, signal, time
from mmbridge import leaving
leaving.ONE_REQUEST = 0.2
here = leaving.Leaving()
with here.listening(), here.held():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
"""
    done = subprocess.run([sys.executable, "-c", program], timeout=50, check=False)
    assert done.returncode == -signal.SIGTERM
