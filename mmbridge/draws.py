"""Random numbers by counter: a draw is a function of its key and its row, so it needs no generator and no order."""

import torch
from torch import Tensor

GOLDEN_GAMMA = -7046029254386353131
"""2**64 over the golden ratio as a signed number: SplitMix64's step from one state to the next."""


def uniform(key: int, rows: Tensor) -> Tensor:
    """Draw one float64 in [0,1) per row number [n] int64, on the rows' device, by SplitMix64 (Steele et al., 2014).

    Row r gives output r + 1 of the generator whose seed is `key` (a signed 64-bit integer); products wrap around.
    """
    state = torch.tensor(key, device=rows.device) + (rows + 1) * GOLDEN_GAMMA
    state = (state ^ _shift(state, 30)) * -4658895280553007687
    state = (state ^ _shift(state, 27)) * -7723592293110705685
    state = state ^ _shift(state, 31)
    return _shift(state, 11).double() * 2.0**-53


def _shift(bits: Tensor, by: int) -> Tensor:
    """Shift right and fill with zeros; torch's own shift of int64 copies the sign."""
    return (bits >> by) & ((1 << (64 - by)) - 1)
