"""What may happen to a run, done to its own process before it begins (`ended_runs.start(change=...)`)."""

import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path

import torch
from mmbridge_registry import Batch


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
    """Let evaluations take for ever, and say when one has begun."""
    from mmbridge import runner

    def evaluate(*_: object, **__: object) -> None:
        Path(mark).touch()
        time.sleep(3600)

    runner.evaluate_stage = evaluate  # type: ignore[assignment]


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


def unwrapped(_: int) -> None:
    """Compute losses around DDP, as code does that calls a submodule."""
    from mmbridge.engine import Engine

    Engine.distribute = lambda self, model: model  # type: ignore[method-assign]


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
