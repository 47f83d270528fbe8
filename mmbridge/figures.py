"""Figures: numbers as people read them."""

import math
from collections.abc import Sequence


def number(value: float | None, digits: int = 3) -> str:
    """Show a number with so many significant digits and no needless zeros; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    if abs(value) >= 10_000 or abs(value) < 0.001:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{_trimmed(mantissa)}e{int(exponent)}"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return _trimmed(f"{value:.{places}f}")


def score(value: float | None) -> str:
    """Show a score with three decimals, so that a column of them lines up; a dash where there is none."""
    return "–" if value is None else f"{value:.3f}"


def interval(ends: Sequence[float] | None) -> str:
    """Show the two ends of an interval; nothing where there is none."""
    return "" if ends is None else f"{ends[0]:.3f} to {ends[1]:.3f}"


def count(value: int) -> str:
    """Show a count with thin spaces between thousands."""
    return f"{value:,}".replace(",", "\u202f")


def parameters(value: int) -> str:
    """Show a number of parameters: 943, 2.1 k, 186.7 M, 3.9 B."""
    for limit, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.1f}\u202f{unit}"
    return str(value)


def duration(seconds: float) -> str:
    """Show a duration in its two largest units."""
    for limit, unit, smaller, small_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= limit:
            large, rest = divmod(round(seconds), limit)
            return f"{large} {unit} {rest // smaller} {small_unit}" if rest // smaller else f"{large} {unit}"
    return f"{seconds:.0f} s"


def _trimmed(digits: str) -> str:
    return digits.rstrip("0").rstrip(".") if "." in digits else digits
