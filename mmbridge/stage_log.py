"""What a stage tells while it runs: metrics.jsonl, the truth, and one line of progress."""

import json
import time
from collections.abc import Mapping
from math import isfinite

import torch
from mmbridge_registry import Batch, UserError
from rich.console import Console
from torch import Tensor

from mmbridge.forgetting import forget
from mmbridge.model import StageLoss
from mmbridge.rank_log import LOG
from mmbridge.running import Running
from mmbridge.training import NOT_FINITE, Training

NONFINITE_LIMIT = 3
"""Steps in a row without a finite gradient after which a run stops."""


class StageLog:
    """Times steps, averages losses over ranks, writes every `log_every`-th step and the last."""

    def __init__(self, running: Running, training: Training) -> None:
        self.running, self.training = running, training
        self.progress = Progress(running.console, training.name, training.stage.steps)
        self.nonfinite = 0
        self.mark = self.since = time.perf_counter()
        self.waits = 0.0
        self.steps = 0
        if running.engine.is_first and training.first < training.stage.steps:
            stages = list(running.recipe.stages)
            later = stages[stages.index(training.name) + 1 :]
            forget(running.directory, training.name, training.first, later)

    def waited(self, step: int) -> None:
        """Note that the batch of `step` has arrived: the time since the last step was spent waiting for data."""
        self.running.watchdog.began(step)
        self.waits += time.perf_counter() - self.mark

    def stepped(self, step: int, batch: Batch, loss: StageLoss, norm: Tensor, skipped: str | None) -> None:
        """Note that a step was taken, or why it was left out.

        Raises:
            UserError: the gradient was not finite `NONFINITE_LIMIT` times in a row.
        """
        self.steps += 1
        self.nonfinite = self.nonfinite + 1 if skipped == NOT_FINITE else 0
        if skipped:
            self._left_out(step, batch, skipped)
        due = step % self.running.recipe.run.log_every == 0 or step == self.training.stage.steps
        if due:
            self._write(step, loss, norm)
        self.mark = time.perf_counter()

    def _left_out(self, step: int, batch: Batch, why: str) -> None:
        here = self.running.engine
        positions = here.collectives.gather_constant(batch.positions.to(here.device)).tolist()
        self._append({"stage": self.training.name, "step": step, "skipped": why, "positions": positions})
        self.running.say(f"{self.training.name} {step}: {why}, step left out")
        if self.nonfinite == NONFINITE_LIMIT:
            raise UserError(
                f"the gradient was not finite {NONFINITE_LIMIT} times in a row, last at step {step}.",
                where=self.running.directory.metrics,
                do="Lower the learning rate, set clip_grad_norm, or check the samples listed there.",
            )

    def _write(self, step: int, loss: StageLoss, norm: Tensor) -> None:
        world_size = self.running.engine.collectives.world_size
        values = {"loss": loss.loss, **loss.terms, **loss.metrics}
        own = (self.training.name, step, loss.loss.item(), self.waits / self.steps)
        LOG.info("%s %d: own loss %.4f, %.3f s per step waiting for data", *own)
        summed = self.running.engine.collectives.sum(torch.stack([value.float() for value in values.values()]))
        means = dict(zip(values, (summed / world_size).tolist(), strict=True))
        seconds = time.perf_counter() - self.since
        rate = self.steps * self.training.stage.batch_size / seconds
        metrics = means | {
            "lr": self.training.optimizer.param_groups[0]["lr"],
            "grad_norm": norm.item(),
            "seconds": seconds / self.steps,
            "samples_per_second": rate,
            "data_wait": self.waits / seconds,
        }
        samples = step * self.training.stage.batch_size
        self._append({"stage": self.training.name, "step": step, "samples": samples} | metrics)
        self.running.tell("step_finished", stage=self.training.name, step=step, metrics=metrics)
        if self.running.engine.is_first:
            self.progress.show(step, means, rate)
        self.since, self.waits, self.steps = time.perf_counter(), 0.0, 0

    def _append(self, line: Mapping[str, object]) -> None:
        if self.running.engine.is_first:
            # JSON has no word for NaN and infinity: they are written as null.
            plain = {
                key: None if isinstance(value, float) and not isfinite(value) else value for key, value in line.items()
            }
            with self.running.directory.metrics.open("a") as file:
                file.write(json.dumps(plain) + "\n")
            self.running.track(self.training.name, self.training.first)


class Progress:
    """One line: live on a terminal, a plain line per logged step elsewhere."""

    def __init__(self, console: Console, stage: str, steps: int) -> None:
        self.console, self.stage, self.steps = console, stage, steps
        self.live = False

    def show(self, step: int, losses: Mapping[str, float], rate: float) -> None:
        """Show where the stage is and its newest numbers; `rate` in samples per second."""
        numbers = "  ".join(f"{name} {value:.3f}" for name, value in losses.items() if "/" not in name)
        line = f"{self.stage} {step}/{self.steps}  {numbers}  {rate:.0f} samples/s"
        self.live = self.console.is_terminal and step < self.steps
        if self.console.is_terminal:
            line = line[: self.console.width - 1].ljust(self.console.width - 1)
        end = "\r" if self.live else "\n"
        self.console.print(line, end=end, markup=False, highlight=False, soft_wrap=True)
