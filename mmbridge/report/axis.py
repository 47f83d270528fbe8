"""Axes: where the ticks of a range lie."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

LOG_FROM = 50.0
"""Ratio of the largest to the smallest value from which an axis is logarithmic."""


@dataclass(frozen=True)
class Axis:
    """A range of values laid along a line: `place` gives 0 at its beginning and 1 at its end."""

    ticks: tuple[float, ...]
    place: Callable[[float], float]
    logarithmic: bool = False


def fitted(values: Sequence[float], from_zero: bool = False) -> Axis:
    """Lay an axis around values; logarithmic if they are all positive and span orders of magnitude.

    With `from_zero` it is linear and begins at 0, as rates and shares are read.
    """
    low, high = min(values), max(values)
    if low > 0 and high / low > LOG_FROM and not from_zero:
        return _logarithmic(low, high)
    return _linear(min(low, 0.0) if from_zero else low, high)


def stepped(last: int) -> Axis:
    """Lay an axis of steps from 0 to exactly `last`."""
    size = _nice(last / 4)
    ticks = tuple(size * number for number in range(int(last / size + 1e-9) + 1))
    return Axis(ticks, lambda step: step / last)


def _linear(low: float, high: float) -> Axis:
    if low == high:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    if low > 0 and low < (high - low) / 2:
        low = 0.0
    size = _nice((high - low) / 3)
    first, last = math.floor(low / size + 1e-9), math.ceil(high / size - 1e-9)
    begin, length = first * size, (last - first) * size
    return Axis(tuple(number * size for number in range(first, last + 1)), lambda value: (value - begin) / length)


def _logarithmic(low: float, high: float) -> Axis:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    every = math.ceil((last - first) / 4)
    ticks = tuple(10.0**power for power in range(first, last + 1, every))
    return Axis(ticks, lambda value: (math.log10(value) - first) / (last - first), logarithmic=True)


def _nice(size: float) -> float:
    """Round a distance up to 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(size))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= size * (1 - 1e-9))
