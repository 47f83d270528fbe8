"""What may happen to a run, done to its own process before it begins (`ended_runs.start(change=...)`)."""

import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import torch
from mmbridge_registry import Batch, UserError


def after_step(do: Callable[[], None], stage: str, at: int) -> None:
    """Do something once, after a step and before its checkpoint."""
    from mmbridge.stage_log import StageLog

    stepped = StageLog.stepped

    def wrapped(self: StageLog, step: int, *rest: object) -> None:
        stepped(self, step, *rest)  # type: ignore[arg-type]
        if (self.training.name, step) == (stage, at):
            do()

    StageLog.stepped = wrapped  # type: ignore[method-assign]


def signalled(rank: int, which: int, number: int, stage: str, step: int) -> None:
    """Send one rank a signal after a step."""
    if rank == which:
        after_step(lambda: os.kill(os.getpid(), number), stage, step)


def stopped(rank: int, which: int, stage: str, step: int) -> None:
    """Let one rank hang for good after a step."""
    if rank == which:
        after_step(lambda: os.kill(os.getpid(), signal.SIGSTOP), stage, step)


def killed_at_disk(_: int, call: int) -> None:
    """Kill the process as it writes checkpoints to the disk: before so manyth file or folder is there for good."""
    from mmbridge import checkpoint

    done, left = checkpoint.to_disk, [call]

    def to_disk(path: Path) -> None:
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        done(path)

    checkpoint.to_disk = to_disk


def little_room(_: int, limit: int) -> None:
    """Let no file grow beyond `limit` bytes, as on a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))


def room_until(_: int, stage: str, step: int, limit: int) -> None:
    """Let the disk be full after a step."""
    after_step(lambda: little_room(0, limit), stage, step)


def slow_evaluation(_: int, mark: str) -> None:
    """Let the second batch of captions take a while, and say when it is asked for."""

    def slowly(number: int) -> None:
        if number == 2:
            Path(mark).touch()
            time.sleep(2)

    each_batch_of_captions(slowly)


def counted_captions(rank: int, counted: str, *signal_: Any) -> None:
    """Count the batches of captions that are asked for in a file, and send a signal as `signalled`."""
    each_batch_of_captions(lambda number: Path(counted).write_text(str(number)))
    signalled(rank, *signal_)


def each_batch_of_captions(do: Callable[[int], object]) -> None:
    """Do something before each batch of captions, given its number from 1; each is a part of its own."""
    from mmbridge.asked import shared
    from mmbridge.inference import Model

    captioned, numbers = Model.caption, count(1)

    def caption(self: Model, images: Any, *asked: Any) -> list[str]:
        if images:  # before a run trains it is asked whether it could
            do(next(numbers))
        return captioned(self, images, *asked)

    shared.BATCHES = 1
    Model.caption = caption  # type: ignore[method-assign]


def nan_on_one_rank(rank: int, which: int, steps: tuple[int, ...]) -> None:
    """Make the pixels of one rank's batch NaN at these steps of the first stage."""
    from mmbridge import runner

    taken = runner.take_step

    def take_step(running: object, training: object, batch: object, step: int) -> object:
        if rank == which and step in steps:
            batch.pixels.fill_(torch.nan)  # type: ignore[attr-defined]
        return taken(running, training, batch, step)  # type: ignore[arg-type]

    runner.take_step = take_step  # type: ignore[assignment]


def signalled_and_noted(rank: int, folder: str, which: int, number: int, stage: str, at: int) -> None:
    """Write each step's positions of this rank to `folder`, and send one rank a signal after a step."""
    from mmbridge.stage_log import StageLog

    stepped = StageLog.stepped

    def wrapped(self: StageLog, step: int, batch: Batch, *rest: object) -> None:
        with Path(folder, f"{self.training.name}-{step}").open("a") as file:
            file.write(" ".join(map(str, batch.positions.tolist())) + "\n")
        stepped(self, step, batch, *rest)  # type: ignore[arg-type]

    StageLog.stepped = wrapped  # type: ignore[method-assign]
    signalled(rank, which, number, stage, at)


def blind_and_noted(rank: int, folder: str, which: int, kind: str) -> None:
    """Let one rank's disk not list the newest checkpoint yet, or not read it; note positions as above."""
    from mmbridge import checkpoint

    signalled_and_noted(rank, folder, -1, 0, "", 0)
    listed = checkpoint._folders

    def broken(path: Path) -> None:
        raise UserError("stale file handle", where=path.name)

    if rank == which and kind == "behind":
        checkpoint._folders = lambda folder: listed(folder)[1:]
    elif rank == which:
        checkpoint.read = broken  # type: ignore[assignment]


def with_plugin(_: int, folder: str) -> None:
    """Let this process find a plugin that was installed into a folder."""
    sys.path.insert(0, folder)


def mistaken(rank: int, which: int) -> None:
    """Let one rank find a mistake that the others do not."""
    from mmbridge import runner

    def locate_all(*_: object) -> dict[str, Path]:
        raise UserError("these weights are not on this machine.", where=f"host of rank {rank}")

    if rank == which:
        runner.locate_all = locate_all  # type: ignore[assignment]


def spike(rank: int, which: int, step: int) -> None:
    """Make one rank's loss huge in one step of the first stage; three steps are enough to know a spike."""
    from mmbridge import spikes
    from mmbridge.training import Training

    reason, calls = Training.reason_to_skip, [0]
    spikes.WINDOW = 6

    def reason_to_skip(self: Training, loss: torch.Tensor, *rest: object) -> object:
        calls[0] += 1
        high = rank == which and calls[0] == step and self.name == "representation"
        return reason(self, loss + 1000 * high, *rest)  # type: ignore[arg-type]

    Training.reason_to_skip = reason_to_skip  # type: ignore[method-assign,assignment]
