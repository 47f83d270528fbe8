"""A stage in training: its objectives, its optimizer, where it starts, and what it saves."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmbridge_registry import Objective, UserError
from torch import Tensor, nn

from mmbridge import checkpoint
from mmbridge.assemble import prepare_stage
from mmbridge.checkpoint import Checkpoint
from mmbridge.collectives import Collectives
from mmbridge.failing import agreed
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
        # Each rank has computed the norm for itself, and unlike GPUs round unlike: one number for all.
        return self.spikes.reason(mean.item(), collectives.maximum(norm).item())

    def check_reached(self) -> None:
        """Check after the first backward pass that gradient has reached all that is trained.

        Raises:
            UserError: not everything; DDP would stop at the second step, and nothing could resume such a run.
        """
        left = [name for name, parameter in self.trained.items() if parameter.grad is None]
        if left:
            some = f"{left[0]}, ..." if len(left) > 1 else left[0]
            raise UserError(
                f"no gradient has reached {len(left)} of the {len(self.trained)} tensors that it trains ({some}).",
                where=f"stages.{self.name}",
                do="Leave their part out of `train`, or let the bridge's `parameters_for` name what objectives reach.",
            )

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
    found = newest(running, name)
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


def newest(running: Running, name: str) -> Checkpoint | None:
    """Open the newest checkpoint of a stage that is complete, and say which ones are not.

    Rank 0 chooses. Another rank's disk may be behind, or fail it: then all stop, for ranks that began after different
    steps would train on together.

    Raises:
        UserError: a rank cannot read the one that was chosen.
    """
    here, folder = running.engine, running.directory.checkpoints(name)
    found, passed_over = checkpoint.newest(folder) if here.is_first else (None, [])
    for reason in passed_over:
        running.say(f"passed over: {reason}")
    here.wait_for_all()  # rank 0 may have read gigabytes before it has chosen
    chosen = here.collectives.gather_texts(found.path.name if found else "")[0]
    return agreed(here, lambda: found or (checkpoint.read(folder / chosen) if chosen else None))


def _take_over(running: Running, name: str, stage: Stage, before: str | None) -> None:
    if stage.start is not None:
        source = start_of(Path(stage.start), where=f"stages.{name}.start")
    elif before is not None:
        source = newest(running, before)
    else:
        return
    if source is None:
        raise UserError(f"stage {before} left no checkpoint to start from.", where=running.directory.path)
    running.say(f"{name}: {hand_over(source, running.model)}")
