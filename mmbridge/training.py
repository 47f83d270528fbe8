"""A stage in training: its objectives, its optimizer, where it starts, and what it saves."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmbridge_registry import Objective, UserError
from torch import Tensor, nn

from mmbridge import checkpoint
from mmbridge.assemble import prepare_stage
from mmbridge.collectives import Collectives
from mmbridge.handoff import hand_over
from mmbridge.loading import start_of
from mmbridge.model import BridgedModel, StageModel
from mmbridge.optim import adamw
from mmbridge.recipe import Stage
from mmbridge.running import Running
from mmbridge.spikes import Spikes

NOT_FINITE = "gradient not finite"


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

    spikes: Spikes | None = None
    """What a spike is measured against; None if no step is left out for one."""

    def reason_to_skip(self, loss: Tensor, norm: Tensor, collectives: Collectives) -> str | None:
        """Say why a step is to be left out, None if it is not; the same on every rank.

        The norm is taken after the ranks' gradients were averaged: if it is not finite on one rank it is on none.
        """
        if not norm.isfinite():
            return NOT_FINITE
        if self.spikes is None:
            return None
        mean = collectives.sum(loss.double()) / collectives.world_size
        return self.spikes.reason(mean.item(), norm.item())

    def state(self, model: BridgedModel, step: int) -> dict[str, Any]:
        """Give what a checkpoint says after `step` steps, beside the tensors."""
        return {
            "stage": self.name,
            "step": step,
            "samples": step * self.stage.batch_size,
            "learned": sorted(model.learned),
            "in_step": sorted(model.in_step or ()),
            "spikes": self.spikes.state() if self.spikes else None,
        }


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
    spikes = Spikes(stage.skip_spikes, found.state.get("spikes") if found else None) if stage.skip_spikes else None
    return Training(name, stage, objectives, model, trained, optimizer, found.step if found else 0, spikes)


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
