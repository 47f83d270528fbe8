"""Runs of the miniature in processes of their own, to be killed, stopped and starved."""

import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from toys.ranks import SERVER

SMALL = (
    "~evaluate", "run.threads=1", "run.workers=0", "run.log_every=1", "run.checkpoint_every=2", "run.device=cpu",
    "data.captions.size=64", "data.questions.size=64", "stages.representation.steps=6", "stages.generation.steps=4",
    "stages.representation.batch_size=4", "stages.generation.batch_size=4",
)  # fmt: skip


def start(
    where: Path,
    *overrides: str,
    ranks: int = 1,
    change: Callable[..., None] | None = None,
    given: Sequence[Any] = (),
    all_options: Sequence[str] = SMALL,
) -> list[ForkServerProcess]:
    """Start `mmbridge run` on so many ranks; output goes to `where/out-N.txt`.

    `change(rank, *given)` is called before, in the process itself: it may break something there.
    """
    where.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    processes = []
    for rank in range(ranks):
        arguments = ["run", "blip2_tiny_opt", *all_options, f"run.directory={where}", *overrides]
        process = SERVER.Process(target=_run, args=(where, rank, ranks, port, arguments, change, given))
        process.start()
        processes.append(process)
    return processes


def finish(processes: Sequence[ForkServerProcess], seconds: float = 300) -> list[int | None]:
    """Wait for the ranks to end and give their exit codes; one that does not end is killed, and fails the test."""
    codes = []
    for process in processes:
        process.join(seconds)
        hangs = process.is_alive()
        if hangs:
            process.kill()
        codes.append(None if hangs else process.exitcode)
    return codes


def said(where: Path, rank: int = 0) -> str:
    """Give what a rank printed."""
    return (where / f"out-{rank}.txt").read_text()


def _run(
    where: Path, rank: int, ranks: int, port: int, arguments: list[str], change: Callable[..., None] | None, given: Any
) -> None:
    with (where / f"out-{rank}.txt").open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    if ranks > 1:
        group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": ranks, "RANK": rank, "LOCAL_RANK": rank}
        os.environ.update({key: str(value) for key, value in group.items()}, GLOO_SOCKET_IFNAME="lo")
    import torch

    from mmbridge import cli

    torch.set_num_threads(1)
    if change:
        change(rank, *given)
    try:
        cli.main(arguments)
    finally:
        sys.stdout.flush()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
