"""Opening all data sets: several at a time, each on its own, told how far, and ended with the command."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from toys.slow_data import catalog, sets

from mmbridge.data.indexing import index_all

CHILD = """
import sys
from pathlib import Path
from toys.slow_data import index_slowly
index_slowly(Path(sys.argv[1]))
"""


def deaf(*_: object) -> None:
    pass


def pids(folder: Path) -> set[int]:
    return {int(file.read_text()) for file in folder.rglob("*") if file.is_file() and file.read_text()}


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_all_are_opened_in_their_order_and_say_how_far(workers: int, tmp_path: Path) -> None:
    told: dict[str, list[tuple]] = {}
    found = index_all(
        sets(tmp_path, 3), catalog(), workers, lambda one, *said: told.setdefault(one.name, []).append(said)
    )
    assert [(one.data_set.name, one.records, one.failure) for one in found] == [
        (f"data.set{number}", 3, None) for number in range(3)
    ]
    assert {said[-1] for said in told.values()} == {(3, 3, "parts")} and len(told) == 3
    assert len(pids(tmp_path)) == (1 if workers == 1 else 3)
    assert (os.getpid() in pids(tmp_path)) == (workers == 1)


def test_no_more_at_once_than_workers(tmp_path: Path) -> None:
    index_all(sets(tmp_path, 3, seconds=0.05), catalog(), 2, deaf)
    ended = {name: (tmp_path / name / "2").stat().st_mtime_ns for name in ("set0", "set1")}
    assert min(ended.values()) <= (tmp_path / "set2" / "0").stat().st_mtime_ns
    began = {name: (tmp_path / name / "0").stat().st_mtime_ns for name in ("set0", "set1")}
    assert max(began.values()) < min(ended.values()), "two at once"


@pytest.mark.parametrize("workers", [1, 3])
def test_a_plugins_mistake_does_not_hide_the_others(workers: int, tmp_path: Path) -> None:
    found = index_all(sets(tmp_path, 3, set1="raises"), catalog(), workers, deaf)
    assert [one.failure for one in found] == [None, "ZeroDivisionError: by zero", None]


def test_a_process_that_dies_does_not_hide_the_others(tmp_path: Path) -> None:
    found = index_all(sets(tmp_path, 3, set0="dies"), catalog(), 2, deaf)
    assert [one.records for one in found] == [None, 3, 3]
    assert "ended with code 9" in str(found[0].failure)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL])
def test_whoever_ends_the_command_ends_its_processes(signum: int, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", CHILD, str(tmp_path)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as child:
        while len(pids(tmp_path)) < 2:
            assert child.poll() is None, child.communicate()[1]
            time.sleep(0.02)
        child.send_signal(signum)
        _, said = child.communicate(timeout=30)
    assert child.returncode != 0 and said.count("Traceback") == (1 if signum == signal.SIGINT else 0), said
    for pid in pids(tmp_path):
        until_gone(pid)
    done = {file: file.read_text() for file in tmp_path.rglob("*") if file.is_file()}
    assert len(done) < 6
    found = index_all(sets(tmp_path), catalog(), 2, deaf)
    assert [one.records for one in found] == [3, 3]
    assert {file: file.read_text() for file in done} == done, "what was finished is not done again"


def until_gone(pid: int) -> None:
    end = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists() and "zombie" not in Path(f"/proc/{pid}/status").read_text():
        assert time.monotonic() < end, f"process {pid} outlived the command"
        time.sleep(0.02)
