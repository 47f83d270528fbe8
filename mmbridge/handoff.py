"""The hand-off between stages: which tensors a stage takes over, and which it starts anew."""

from dataclasses import dataclass

import torch
from mmbridge_registry import UserError

from mmbridge.checkpoint import Checkpoint
from mmbridge.model import BridgedModel
from mmbridge.quantizing import is_plain


@dataclass(frozen=True)
class Handoff:
    """Names of tensors, by what happened to them."""

    source: str
    moved: tuple[str, ...]
    """Taken over from the source."""
    new: tuple[str, ...]
    """Kept by the model, but not in the source: they start as they were built."""
    unused: tuple[str, ...]
    """In the source, but this model has no place for them."""

    def __str__(self) -> str:
        new = f": {', '.join(self.new[:4])}{', ...' if len(self.new) > 4 else ''}" if self.new else ""
        return (
            f"from {self.source}: {len(self.moved)} tensors moved, {len(self.new)} new{new}, {len(self.unused)} unused"
        )


@torch.no_grad()
def hand_over(source: Checkpoint, model: BridgedModel) -> Handoff:
    """Copy a checkpoint's tensors into the model and account for every one.

    Raises:
        UserError: a tensor has another shape here (another encoder, another geometry), or a part of the bridge is
            missing that the checkpoint does not itself say that it lacks.
    """
    weights, here = source.weights(), model.tensors()
    for name in sorted(here.keys() & weights.keys()):
        if here[name].shape != weights[name].shape:
            raise UserError(
                f"{name} has shape {list(weights[name].shape)} there and {list(here[name].shape)} here.",
                where=source.path,
                do="Encoder, bridge and language model must have the geometry that the weights were trained with.",
            )
        if not is_plain(here[name]):
            raise UserError(
                f"{name} was trained there; here its tower is sharded or quantized, which takes stored weights only.",
                where=source.path,
                do="Set run.placement=replicate, and leave out model.quantize for this tower.",
            )
    new = sorted(model.kept().keys() - weights.keys())
    missing = [name for name in new if name.startswith("bridge.") and name not in source.lacks]
    if missing:
        raise UserError(f"it lacks {len(missing)} tensors of the bridge ({missing[0]}, ...).", where=source.path)
    moved = sorted(here.keys() & weights.keys())
    for name in moved:
        here[name].copy_(weights[name])
    model.learned |= source.learned(moved)
    if model.in_step is None:  # else the stage that begins here trains the bridge, and has said what of it
        model.in_step = source.in_step
    return Handoff(str(source.path), tuple(moved), tuple(new), tuple(sorted(weights.keys() - here.keys())))
