"""Groups of the optimiser, and the learning rate over the steps."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mmbridge.optim import adamw, learning_rate
from mmbridge.settings import Optimizer, Schedule


def test_matrices_and_queries_decay_and_nothing_else() -> None:
    trained = {
        "matrix": nn.Parameter(torch.ones(2, 3)),
        "queries": nn.Parameter(torch.ones(1, 4, 3)),
        "bias": nn.Parameter(torch.ones(3)),
        "temperature": nn.Parameter(torch.tensor(0.07)),
    }
    optimizer = adamw(trained, Optimizer(weight_decay=0.05))
    decay = {id(tensor): group["weight_decay"] for group in optimizer.param_groups for tensor in group["params"]}
    assert {name: decay[id(tensor)] for name, tensor in trained.items()} == {
        "matrix": 0.05,
        "queries": 0.05,
        "bias": 0.0,
        "temperature": 0.0,
    }
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.98)


SCHEDULE = Schedule(warmup_steps=2000, warmup_lr=1e-6, min_lr=1e-5)


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 1e-6), (1000, (1e-6 + 1e-4) / 2), (2000, 1e-4), (126_000, (1e-4 + 1e-5) / 2), (250_000, 1e-5)],
)
def test_the_papers_first_stage(step: int, expected: float) -> None:
    assert math.isclose(learning_rate(step, 250_000, 1e-4, SCHEDULE), expected, rel_tol=1e-12)


@given(st.integers(0, 300), st.integers(1, 300), st.integers(0, 100))
def test_the_rate_rises_then_falls_and_stays_in_bounds(step: int, steps: int, warmup: int) -> None:
    schedule = Schedule(warmup_steps=warmup, min_lr=1e-5)
    here, there = (learning_rate(at, steps, 1e-4, schedule) for at in (step, step + 1))
    assert 1e-6 <= here <= 1e-4
    if step < warmup and steps > warmup:
        assert there > here
    elif step >= warmup:
        assert there <= here
