"""The optimiser's groups and the learning rate of a step."""

import math
from collections.abc import Mapping

import torch
from torch import nn

from mmbridge.settings import Optimizer, Schedule


def adamw(trained: Mapping[str, nn.Parameter], options: Optimizer) -> torch.optim.AdamW:
    """Make AdamW over named parameters.

    Matrices and the queries decay; norms, biases and the temperature (everything with fewer than two dimensions)
    do not.
    """
    decayed = [tensor for tensor in trained.values() if tensor.ndim >= 2]
    kept = [tensor for tensor in trained.values() if tensor.ndim < 2]
    groups = [
        {"params": decayed, "weight_decay": options.weight_decay},
        {"params": kept, "weight_decay": 0.0},
    ]
    fused = all(tensor.is_cuda for tensor in trained.values())
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=options.lr,
        betas=options.betas,
        eps=options.eps,
        fused=fused,
    )


def learning_rate(step: int, steps: int, peak: float, schedule: Schedule) -> float:
    """Give the learning rate of step `step` (from 0) of `steps`: linear warm-up, then cosine to `min_lr`.

    Both go by step, so a short run reaches its peak and its floor as a long one does (the original counts epochs).
    """
    if step < schedule.warmup_steps:
        return schedule.warmup_lr + (peak - schedule.warmup_lr) * step / schedule.warmup_steps
    progress = (step - schedule.warmup_steps) / max(1, steps - schedule.warmup_steps)
    return schedule.min_lr + (peak - schedule.min_lr) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set one learning rate for all groups."""
    for group in optimizer.param_groups:
        group["lr"] = rate
