"""Results: each metric as a bar between chance and ceiling."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Result:
    """One metric; shares are percentages of the bar's length."""

    metric: str
    value: float
    chance: float | None
    ceiling: float | None
    interval: Sequence[float] | None
    n: int
    share: float
    chance_share: float | None
    ceiling_share: float | None
    interval_shares: tuple[float, float] | None
    """Where the interval begins, and its width."""


@dataclass(frozen=True)
class Group:
    """The metrics of one evaluation after one stage."""

    stage: str
    evaluation: str
    protocol: str
    results: list[Result] = field(default_factory=list)


def result_groups(results: Mapping[str, Mapping[str, Any]]) -> list[Group]:
    """Group an evaluation.json by stage and evaluation, in its own order."""
    groups: dict[tuple[str, str], Group] = {}
    for key, result in results.items():
        stage, evaluation, metric = key.split("/", 2)
        protocol = result.get("protocol") or ""
        group = groups.setdefault((stage, evaluation), Group(stage, evaluation, protocol))
        group.results.append(_result(metric, result))
    return list(groups.values())


def _result(metric: str, result: Mapping[str, Any]) -> Result:
    value, chance, ceiling = float(result["value"]), result.get("chance"), result.get("ceiling")
    # Most metrics are shares of one; a score that is not (CIDEr) gets a bar as long as the largest number beside it.
    full = max(1.0, value, chance or 0.0, ceiling or 0.0, *(result.get("interval") or ()))

    def share(number: float | None) -> float | None:
        return None if number is None else round(100 * max(0.0, number) / full, 1)

    title = re.sub(r"\br(\d+)\b", r"R@\1", metric.replace("_", " "))
    ends = result.get("interval")
    within = None if ends is None else (share(ends[0]) or 0.0, (share(ends[1]) or 0.0) - (share(ends[0]) or 0.0))
    shares = share(value) or 0.0, share(chance), share(ceiling), within
    return Result(title, value, chance, ceiling, ends, result["n"], *shares)
