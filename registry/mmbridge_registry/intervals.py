"""Intervals: how far a number may be off because it was measured on these items and not on others."""

from collections.abc import Callable
from math import sqrt
from statistics import NormalDist

import torch
from torch import Tensor

DRAWS = 1000
LEVEL = 0.95
NORMAL = NormalDist().inv_cdf((1 + LEVEL) / 2)


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
    """Give the 95 % interval of the mean of values [n].

    Of shares (all values are 0 or 1) it is Wilson's (1927): by draws, 256 right of 256 would leave no doubt at all.
    """
    if ((values == 0) | (values == 1)).all():
        return of_share(int(values.sum()), len(values))
    return bootstrap(values[:, None], lambda sums: sums[:, 0] / len(values))


def of_share(count: int, n: int) -> tuple[float, float]:
    """Give Wilson's 95 % score interval of a share of n."""
    share, z = count / n, NORMAL
    middle, half = share + z * z / (2 * n), z * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low, high = (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)
    return (0.0 if count == 0 else low), (1.0 if count == n else high)
