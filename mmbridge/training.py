"""A stage in training: its objectives, its optimizer, where it starts, and what it saves."""

from dataclasses import dataclass
from pathlib import Path

import torch
from mmbridge_registry import Objective, UserError
from torch import nn

from mmbridge import checkpoint
from mmbridge.assemble import prepare_stage
from mmbridge.handoff import hand_over
from mmbridge.loading import start_of
from mmbridge.model import StageModel
from mmbridge.optim import adamw
from mmbridge.recipe import Stage
from mmbridge.running import Running


@dataclass(frozen=True)
class Training:
    """One stage, ready to take its next step."""

    name: str
    stage: Stage
    objectives: dict[str, Objective]
    model: nn.Module
    """A `StageModel`, wrapped for several ranks."""
    trained: dict[str, nn.Parameter]
    optimizer: torch.optim.AdamW
    first: int
    """Steps already taken."""

    def save(self, running: Running, step: int) -> None:
        """Save a checkpoint after `step` steps; all ranks wait until it stands."""
        if running.engine.is_first:
            folder = running.directory.checkpoints(self.name)
            state = {
                "stage": self.name,
                "step": step,
                "samples": step * self.stage.batch_size,
                "learned": sorted(running.model.learned),
                "in_step": sorted(running.model.in_step or ()),
            }
            keep = running.recipe.run.keep_checkpoints
            path = checkpoint.save(folder, running.model.kept(), state, keep, self.trained, self.optimizer)
            running.tell("checkpoint_saved", stage=self.name, step=step, checkpoint=path)
        running.engine.wait_for_all()


def begin(running: Running, name: str, stage: Stage, before: str | None) -> Training:
    """Prepare a stage: go on from its own newest checkpoint, or take over the weights of what came before.

    `before` names the stage before this one; a stage's own `start` comes first.
    """
    objectives = prepare_stage(running.model, stage, running.discovered.catalog)
    trained = {key: tensor for key, tensor in running.model.named_parameters() if tensor.requires_grad}
    optimizer = adamw(trained, stage.optimizer)
    found, passed_over = checkpoint.newest(running.directory.checkpoints(name))
    for reason in passed_over:
        running.say(f"passed over: {reason}")
    if found is not None:
        hand_over(found, running.model)
        checkpoint.load_optimizer(found, trained, optimizer)
        running.say(f"{name}: {'finished' if found.step == stage.steps else 'goes on'} after step {found.step}")
    else:
        _take_over(running, name, stage, before)
    of_stage = StageModel(running.model, objectives, running.engine.collectives, running.recipe.run.seed)
    model = running.engine.distribute(of_stage.to(running.engine.device))
    return Training(name, stage, objectives, model, trained, optimizer, found.step if found else 0)


def _take_over(running: Running, name: str, stage: Stage, before: str | None) -> None:
    if stage.start is not None:
        source = start_of(Path(stage.start), where=f"stages.{name}.start")
    elif before is not None:
        source, _ = checkpoint.newest(running.directory.checkpoints(before))
    else:
        return
    if source is None:
        raise UserError(f"stage {before} left no checkpoint to start from.", where=running.directory.path)
    running.say(f"{name}: {hand_over(source, running.model)}")
