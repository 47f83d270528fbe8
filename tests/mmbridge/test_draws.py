"""Draws by counter, against SplitMix64 in Python's own integers."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmbridge.draws import uniform

MASK = (1 << 64) - 1


def splitmix64(seed: int, count: int) -> list[float]:
    """The published generator, by integers that do not wrap by themselves."""
    state, numbers = seed & MASK, []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & MASK
        bits = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & MASK
        numbers.append(((bits ^ (bits >> 31)) >> 11) * 2.0**-53)
    return numbers


@settings(deadline=None, max_examples=50)
@given(st.integers(-(2**63), 2**63 - 1))
def test_draws_are_splitmix64(key):
    assert uniform(key, torch.arange(20)).tolist() == splitmix64(key, 20)


def test_draws_are_uniform():
    numbers = uniform(0, torch.arange(200_000))
    counts = torch.histc(numbers, 100, 0, 1)
    # Chi-squared of 99 degrees of freedom: 148 is passed once in a thousand keys.
    assert ((counts - 2000) ** 2 / 2000).sum() < 148
    assert numbers.unique().numel() == 200_000
