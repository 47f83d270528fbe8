"""Local ranks: one process per GPU. They find each other as under torchrun, which can start them just as well."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType

import torch
from mmbridge_registry import MmbridgeError

from mmbridge.leaving import SIGNALS
from mmbridge.recipe import Run

PATIENCE, GRACE = 5.0, 30.0
"""Seconds in which ranks notice by themselves that one has failed, and in which they must end when they are told."""


def ranks_to_start(run: Run) -> int:
    """Tell how many local ranks a run wants: one per GPU, and none where a launcher has already started some."""
    if "WORLD_SIZE" in os.environ or run.device == "cpu":
        return 1
    return max(1, torch.cuda.device_count())


def launch(ranks: int, command: Sequence[str]) -> int:
    """Run a command on `ranks` local ranks; give the exit status of the first one that fails.

    The others are ended then. Signals are passed on to all ranks.
    """
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": str(ranks)}
    processes: list[subprocess.Popen] = []

    def pass_on(signum: int, _: FrameType | None) -> None:
        for process in processes:
            process.send_signal(signum)

    before = {number: signal.signal(number, pass_on) for number in SIGNALS}
    try:
        for rank in range(ranks):
            own = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            processes.append(subprocess.Popen(command, env={**os.environ, **shared, **own}))
        return _wait(processes)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(processes: Sequence[subprocess.Popen]) -> int:
    while any(process.poll() is None for process in processes):
        failed = [rank for rank, process in enumerate(processes) if process.poll()]
        if failed:
            return _end(processes, failed[0])
        time.sleep(0.1)
    return next((process.returncode for process in processes if process.returncode), 0)


def _end(processes: Sequence[subprocess.Popen], failed: int) -> int:
    status = processes[failed].returncode
    if status < 0 or status == MmbridgeError.exit_code:  # other failures are the user's, and the rank has said enough
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with exit code {status}"
        print(f"rank {failed} {how}; the other ranks end. The same command goes on.", file=sys.stderr)
    _until_all_ended(processes, PATIENCE)
    for ask in (subprocess.Popen.terminate, subprocess.Popen.kill):
        for process in processes:
            if process.poll() is None:
                ask(process)
        _until_all_ended(processes, GRACE)
    return status if status > 0 else 128 - status


def _until_all_ended(processes: Sequence[subprocess.Popen], patience: float) -> None:
    deadline = time.monotonic() + patience
    while any(process.poll() is None for process in processes) and time.monotonic() < deadline:
        time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
