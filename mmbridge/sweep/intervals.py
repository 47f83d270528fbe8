"""Means over seeds and how far they may be off, by Student's t."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Mean:
    """The mean of some measurements, and the interval in which the mean of infinitely many would lie."""

    value: float
    interval: tuple[float, float] | None
    """None for a single measurement, which does not say how far it may be off."""
    n: int

    @classmethod
    def of(cls, values: Sequence[float], confidence: float = CONFIDENCE) -> "Mean":
        """Take the mean of at least one measurement; the measurements are taken for independent and normal."""
        mean, n = fmean(values), len(values)
        if n == 1:
            return cls(mean, None, n)
        half = t_quantile(n - 1, confidence) * stdev(values) / math.sqrt(n)
        return cls(mean, (mean - half, mean + half), n)

    @property
    def excludes_zero(self) -> bool:
        """Say whether the interval excludes 0."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]


def t_quantile(freedom: int, confidence: float = CONFIDENCE) -> float:
    """Give the t below which |T| of Student's distribution stays with a probability of `confidence`.

    To float64's precision, by halving an interval of the angle atan(t / sqrt(freedom)).
    """
    low, high = 0.0, math.pi / 2
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if _within(middle, freedom) < confidence else (low, middle)
    return math.tan(high) * math.sqrt(freedom)


def _within(angle: float, freedom: int) -> float:
    """P(|T| < tan(angle) * sqrt(freedom)): a finite sum for whole degrees of freedom (Abramowitz & Stegun 26.7.3-4)."""
    odd = freedom % 2
    term, total = math.sin(angle) * (math.cos(angle) if odd else 1.0), 0.0
    for step in range(1 + odd, freedom, 2):
        total += term
        term *= math.cos(angle) ** 2 * step / (step + 1)
    return 2 / math.pi * (angle + total) if odd else total
