"""The loop that trains every tower: AdamW, warm-up and cosine, one progress line at intervals."""

import math
import time
from collections.abc import Callable, Iterable

import torch

LossOfStep = Callable[[int], torch.Tensor]


def lr_share(step: int, steps: int, warmup: int) -> float:
    """The share of the peak learning rate at a step: linear warm-up, then a cosine to zero."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def fit(
    name: str,
    parameters: Iterable[torch.nn.Parameter],
    loss_of_step: LossOfStep,
    *,
    steps: int,
    lr: float,
    weight_decay: float = 0.01,
    probe: Callable[[], str] = lambda: "",
    probe_every: int = 500,
) -> dict[str, float]:
    """Train for some steps and say how long it took; `probe` adds a measured word to the progress line."""
    parameters = list(parameters)
    optimizer = torch.optim.AdamW(parameters, lr=lr, betas=(0.9, 0.98), weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: lr_share(step, steps, warmup=200))
    start, smooth = time.monotonic(), 0.0
    for step in range(steps):
        loss = loss_of_step(step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        smooth = loss.item() if step == 0 else 0.98 * smooth + 0.02 * loss.item()
        if (step + 1) % 50 == 0:
            note = probe() if (step + 1) % probe_every == 0 or step + 1 == steps else ""
            minutes = (time.monotonic() - start) / 60
            print(f"{name} step {step + 1}/{steps} loss {smooth:.4f} {minutes:.1f} min {note}", flush=True)
    return {"steps": steps, "minutes": round((time.monotonic() - start) / 60, 1)}
