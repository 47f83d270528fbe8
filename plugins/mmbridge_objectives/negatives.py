"""Drawing negatives: weights over the candidates of every row, and one draw per row."""

import torch
from torch import Tensor


def hard(logits: Tensor, candidates: Tensor) -> Tensor:
    """Weigh candidates [B,G] bool by the softmax of their similarities [B,G]; others weigh exactly 0 (float64)."""
    lowest = torch.finfo(torch.float64).min
    return logits.double().masked_fill(~candidates, lowest).softmax(-1) * candidates


def uniform(logits: Tensor, candidates: Tensor) -> Tensor:
    """Weigh all candidates [B,G] bool alike (float64)."""
    del logits
    return candidates.double()


def draw(weights: Tensor, numbers: Tensor, otherwise: Tensor) -> Tensor:
    """Draw one column per row of weights [B,G] float64 by inverting the distribution at numbers [B] in [0,1).

    A column of weight 0 is never drawn; a row of zeros gives its entry of `otherwise` [B].
    """
    sums = weights.cumsum(-1)
    total = sums[:, -1]
    # The largest float64 below 1 times total still rounds to less than total: the search ends inside the row.
    drawn = torch.searchsorted(sums, (numbers * total)[:, None], right=True)[:, 0]
    return torch.where(total > 0, drawn, otherwise)
