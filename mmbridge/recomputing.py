"""Recomputing: blocks that keep their input alone, and compute what is inside again in the backward pass."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from mmbridge.model import BridgedModel


def recompute_blocks(model: BridgedModel) -> None:
    """Let the blocks of bridge and towers forget their activations; gradients stay the same, bit for bit.

    Dropout falls as it did before. Where no gradient is asked for, as in evaluation, nothing changes.
    """
    parts = (model.vision_encoder, model.bridge, model.language_model)
    for block in (block for part in parts if part is not None for block in part.blocks()):
        # torch's own wrapper modules rename parameters, and transformers recomputes only what is in training mode,
        # which a frozen tower never is.
        block.forward = partial(_forget, block.forward)


def _forget(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, **kwargs)
