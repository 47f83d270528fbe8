"""Intervals: how far a number may be off because it was measured on these items and not on others."""

from collections.abc import Callable

import torch
from torch import Tensor

DRAWS = 1000
LEVEL = 0.95


def bootstrap(rows: Tensor, statistic: Callable[[Tensor], Tensor], draws: int = DRAWS) -> tuple[float, float]:
    """Give the 95 % percentile interval of a statistic of the sums over items (Efron, 1979).

    `rows` [n,k] hold an item each, `statistic` takes sums [draws,k] over n items drawn with replacement and gives
    [draws]. The draws are always the same, so that one measurement gives one interval.
    """
    rows, generator = rows.double(), torch.Generator().manual_seed(0)
    sums = torch.stack([rows[torch.randint(len(rows), (len(rows),), generator=generator)].sum(0) for _ in range(draws)])
    tails = torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=torch.float64)
    low, high = statistic(sums).double().quantile(tails).tolist()
    return low, high


def of_mean(values: Tensor) -> tuple[float, float]:
    """Give the 95 % interval of the mean of values [n]."""
    return bootstrap(values[:, None], lambda sums: sums[:, 0] / len(values))
