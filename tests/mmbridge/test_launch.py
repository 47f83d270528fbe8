"""Local ranks: they are told who they are, end together, and what ended them is named."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmbridge import launch

WHO = "import os; print(os.environ['RANK'], os.environ['LOCAL_RANK'], os.environ['WORLD_SIZE'], file=open({path!r} + os.environ['RANK'], 'w'))"  # noqa: E501
WAIT = "import os, time\nif os.environ['RANK'] == '1': {do}\ntime.sleep(60)"


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def test_every_rank_knows_its_place(tmp_path: Path) -> None:
    assert launch.launch(2, python(WHO.format(path=str(tmp_path / "rank")))) == 0
    assert [(tmp_path / f"rank{rank}").read_text() for rank in (0, 1)] == ["0 0 2\n", "1 1 2\n"]


@pytest.mark.parametrize(
    ("do", "status", "said"),
    [
        ("os.kill(os.getpid(), 9)", 137, "rank 1 was killed by SIGKILL"),
        ("os._exit(1)", 1, "rank 1 ended with exit code 1"),
        ("os._exit(2)", 2, ""),  # a mistake of the user's, which the rank has explained
    ],
)
def test_a_rank_that_fails_ends_the_others(
    do: str, status: int, said: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(launch, "PATIENCE", 0.2)
    before = time.monotonic()
    assert launch.launch(3, python(WAIT.format(do=do))) == status
    assert time.monotonic() - before < 50
    assert capfd.readouterr().err.startswith(said)


def test_a_signal_reaches_every_rank_once_and_their_order_is_kept(tmp_path: Path) -> None:
    ready = "import os, signal, sys, time\nsignal.signal(15, lambda *_: sys.exit(0))\nopen({path!r} + os.environ['RANK'], 'w')\ntime.sleep(60)"  # noqa: E501
    program = f"import sys\nfrom mmbridge.launch import launch\nsys.exit(launch(2, {python(ready.format(path=str(tmp_path / 'rank')))!r}))"  # noqa: E501
    parent = subprocess.Popen(python(program))
    while not all((tmp_path / f"rank{rank}").exists() for rank in (0, 1)):
        assert parent.poll() is None
        time.sleep(0.05)
    os.kill(parent.pid, signal.SIGTERM)
    assert parent.wait(50) == 0
