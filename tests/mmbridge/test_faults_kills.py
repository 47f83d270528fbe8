"""kill -9 at any moment, on one rank and on one of two: the same command goes on and ends with the same bytes."""

import json
import os
import random
import signal
import time
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import pytest
from toys import ended_runs, faults

from mmbridge import checkpoint

RUN = "blip2_tiny_opt"
KILLS = 30 if "MMBRIDGE_LONG_TESTS" in os.environ else 2
"""Kills at random moments; the long form takes minutes."""
EVERY = 2
"""Steps from checkpoint to checkpoint."""


def final(where: Path) -> list[str]:
    """Fingerprints of what the last steps of both stages left."""
    last = {"representation": 6, "generation": 4}
    folders = [where / RUN / "checkpoints" / stage / f"step-{step:08d}" for stage, step in last.items()]
    return [
        sha256((folder / name).read_bytes()).hexdigest()
        for folder in folders
        for name in (checkpoint.WEIGHTS, checkpoint.OPTIMIZER)
    ]


def assert_little_is_lost(where: Path) -> int:
    """Check that at most one interval is to be done again, two if a checkpoint was being written; give what stands."""
    taken = []
    with suppress(FileNotFoundError):  # killed before the first step
        for line in (where / RUN / "metrics.jsonl").read_text().splitlines():
            with suppress(ValueError):  # killed within a line
                taken.append(json.loads(line))
    if not taken:
        return 0
    folder = where / RUN / "checkpoints" / taken[-1]["stage"]
    newest, _ = checkpoint.newest(folder)
    stands = newest.step if newest else 0
    writing = any(folder.glob("*.tmp"))
    assert stands >= taken[-1]["step"] - EVERY * (1 + writing)
    return stands


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    where = tmp_path_factory.mktemp("straight")
    assert ended_runs.finish(ended_runs.start(where)) == [0]
    return final(where)


# A checkpoint's way to the disk: four files, their folder, and, once it has its name, the folder of all.
@pytest.mark.parametrize("call", [1, 3, 5, 6, 11], ids=str)
@pytest.mark.slow
def test_killed_while_it_saves(call: int, straight: list[str], tmp_path: Path) -> None:
    processes = ended_runs.start(tmp_path, change=faults.killed_at_disk, given=[call])
    assert ended_runs.finish(processes) == [-signal.SIGKILL]
    stands = assert_little_is_lost(tmp_path)
    assert ended_runs.finish(ended_runs.start(tmp_path)) == [0]
    assert final(tmp_path) == straight
    assert stands == (EVERY if call > 5 else 0), "only what was renamed counts"
    assert (f"representation: goes on after step {stands}\n" in ended_runs.said(tmp_path)) == (stands > 0)
    assert "Traceback" not in ended_runs.said(tmp_path)
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.slow
def test_killed_at_random_moments(straight: list[str], tmp_path: Path) -> None:
    drawn = random.Random(0)
    for _ in range(KILLS):
        (process,) = ended_runs.start(tmp_path)
        time.sleep(drawn.uniform(0.5, 3.5))
        process.kill()
        assert ended_runs.finish([process])[0] in (-signal.SIGKILL, 0)
        assert_little_is_lost(tmp_path)
    assert ended_runs.finish(ended_runs.start(tmp_path)) == [0]
    assert final(tmp_path) == straight
    assert "Traceback" not in ended_runs.said(tmp_path) and "passed over" not in ended_runs.said(tmp_path)


@pytest.mark.slow
def test_one_of_two_ranks_is_killed(tmp_path: Path) -> None:
    given = [1, signal.SIGKILL, "representation", 3]
    first, second = ended_runs.finish(ended_runs.start(tmp_path, ranks=2, change=faults.signalled, given=given))
    assert second == -signal.SIGKILL
    assert first not in (0, None), "the other one leaves, and says that it failed"
    assert ended_runs.finish(ended_runs.start(tmp_path)) == [0], "what is left can be gone on with, on one rank too"
    assert "representation: goes on after step 2" in ended_runs.said(tmp_path)
