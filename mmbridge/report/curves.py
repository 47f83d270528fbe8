"""Curves: one small panel per quantity that a stage logged."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmbridge.figures import number
from mmbridge.report.axis import Axis, fitted, stepped

WIDTH, HEIGHT = 340, 180
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 8, 24
POINTS = 170
"""Points drawn at most; more are averaged, with their range behind the line."""

TITLES = {
    "lr": "learning rate",
    "grad_norm": "gradient norm",
    "samples_per_second": "samples per second",
    "data_wait": "share of time waiting for data",
}
FROM_ZERO = {"lr", "samples_per_second", "data_wait"}
NOT_DRAWN = {"stage", "step", "samples", "seconds", "skipped", "positions"}


@dataclass(frozen=True)
class Tick:
    """A tick: its pixel and its label."""

    at: float
    label: str


@dataclass(frozen=True)
class Curve:
    """One run's values, in pixels."""

    run: str
    line: str
    """Points of the (averaged) curve."""
    band: str
    """Outline of the range that was averaged; empty if nothing was."""
    dot: tuple[float, float]
    """The last point."""
    last: str


@dataclass(frozen=True)
class Panel:
    """One quantity over the steps of a stage, of one run or of several."""

    title: str
    is_loss: bool
    curves: tuple[Curve | None, ...]
    """By run; None of a run that did not log it."""
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    alt: str
    note: str
    """What the picture does not show by itself: a logarithmic axis, values left out."""


Lines = Sequence[Mapping[str, Any]]
Points = list[tuple[int, float]]


def panels(runs: Mapping[str, Lines]) -> list[Panel]:
    """Draw everything a stage logged: the loss, its terms, what objectives measured, then the machine's numbers.

    `runs` holds what each run logged, by the run's name; their curves share a panel.
    """
    lines = [line for logged in runs.values() for line in logged]
    names = list(dict.fromkeys(name for line in lines for name in line if name not in NOT_DRAWN))
    terms = [name for name in names if name != "loss" and name not in TITLES]
    if sum("/" not in name for name in terms) == 1:  # it is the loss
        terms = [name for name in terms if "/" in name]
    order = ["loss", *sorted(terms, key=lambda name: "/" in name), *TITLES]
    last = max((int(line["step"]) for line in lines), default=0)
    drawn = (_panel(name, runs, last) for name in order)
    return [panel for panel in drawn if panel is not None]


def _panel(name: str, runs: Mapping[str, Lines], last_step: int) -> Panel | None:
    logged = {run: [(int(line["step"]), line[name]) for line in lines if name in line] for run, lines in runs.items()}
    points = {run: [(step, float(value)) for step, value in of if _is_finite(value)] for run, of in logged.items()}
    values = [value for of in points.values() for _, value in of]
    if not values:
        return None
    x, y = stepped(last_step), fitted(values, name in FROM_ZERO)
    left_out = sum(map(len, logged.values())) - len(values)
    notes = ["logarithmic"] * y.logarithmic + [f"{left_out} values not finite"] * bool(left_out)
    title = TITLES.get(name, name.replace("/", " · ").replace("_", " "))
    told = [f"{run}: {_told(of)}" if len(runs) > 1 else _told(of) for run, of in points.items() if of]
    return Panel(
        title=title,
        is_loss=name not in TITLES and "/" not in name,
        curves=tuple(_curve(run, of, x, y) if of else None for run, of in points.items()),
        x_ticks=tuple(Tick(_pixel(step, values[0], x, y)[0], number(step, 6)) for step in x.ticks),
        y_ticks=tuple(Tick(_pixel(0, value, x, y)[1], number(value)) for value in y.ticks),
        alt=f"{title}: {'; '.join(told)}",
        note=", ".join(notes),
    )


def _curve(run: str, points: Points, x: Axis, y: Axis) -> Curve:
    buckets = _buckets(points)
    middle = [(step, math.fsum(bucket) / len(bucket)) for step, bucket in buckets]
    edge = [(step, max(bucket)) for step, bucket in buckets] + [(step, min(bucket)) for step, bucket in buckets[::-1]]
    return Curve(
        run=run,
        line=_pixels(middle, x, y),
        band=_pixels(edge, x, y) if len(points) > len(buckets) else "",
        dot=_pixel(*middle[-1], x, y),
        last=number(points[-1][1]),
    )


def _told(points: Points) -> str:
    (first, begin), (last, end) = points[0], points[-1]
    values = [value for _, value in points]
    return (
        f"{number(begin)} at step {first}, {number(end)} at step {last}, "
        f"between {number(min(values))} and {number(max(values))}"
    )


def _buckets(points: Points) -> list[tuple[int, list[float]]]:
    size = math.ceil(len(points) / POINTS)
    chunks = [points[first : first + size] for first in range(0, len(points), size)]
    return [(chunk[-1][0], [value for _, value in chunk]) for chunk in chunks]


def _pixels(points: Sequence[tuple[int, float]], x: Axis, y: Axis) -> str:
    return " ".join(f"{across:g},{down:g}" for across, down in (_pixel(*point, x, y) for point in points))


def _pixel(step: float, value: float, x: Axis, y: Axis) -> tuple[float, float]:
    across = LEFT + x.place(step) * (WIDTH - LEFT - RIGHT)
    down = HEIGHT - BOTTOM - y.place(value) * (HEIGHT - TOP - BOTTOM)
    return round(across, 1), round(down, 1)


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
