"""Results: each metric between chance, ceiling and what the paper says."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmbridge.figures import score

COLUMNS = {
    "interval": "95 %",
    "chance": "chance",
    "shuffled": "images shuffled",
    "ceiling": "ceiling",
    "expected": "paper",
}


@dataclass(frozen=True)
class Expected:
    """What a paper or a model's authors reached by the same protocol."""

    value: float
    tolerance: float | None
    source: str


@dataclass(frozen=True)
class Result:
    """One metric."""

    metric: str
    value: float
    interval: Sequence[float] | None
    chance: float | None
    shuffled: float | None
    """The value when every image is exchanged for another's."""
    ceiling: float | None
    expected: Expected | None
    less_is_better: bool
    n: int
    full: float
    """What the whole length of a bar stands for."""

    def share(self, number: float) -> float:
        """Give the place of a number on the bar, in percent of its length."""
        return round(100 * min(max(0.0, number) / self.full, 1.0), 1)

    @property
    def worse(self) -> bool:
        """Whether guessing does better."""
        return self.chance is not None and (self.value - self.chance) * (-1 if self.less_is_better else 1) < 0

    @property
    def learned(self) -> tuple[float, float]:
        """Where the way from chance to the value begins, and how long it is, in percent."""
        ends = sorted((self.share(self.chance or 0.0), self.share(self.value)))
        return ends[0], round(ends[1] - ends[0], 1)

    @property
    def against_paper(self) -> str:
        """Say how the value stands to the expected one."""
        if self.expected is None:
            return ""
        gap = self.value - self.expected.value
        within = self.expected.tolerance is not None and abs(gap) <= self.expected.tolerance
        return "within tolerance" if within else signed(gap)


@dataclass(frozen=True)
class Group:
    """The metrics of one evaluation after one stage."""

    stage: str
    evaluation: str
    protocol: str
    card: Mapping[str, Any]
    """Name, version and deviations of the protocol that is followed; empty without one."""
    results: list[Result]

    @property
    def sources(self) -> list[str]:
        """Where expected values come from, each once."""
        return list(dict.fromkeys(result.expected.source for result in self.results if result.expected))


def result_groups(results: Mapping[str, Mapping[str, Any]]) -> list[Group]:
    """Group an evaluation.json by stage and evaluation, in its own order."""
    groups: dict[tuple[str, str], Group] = {}
    for key, result in results.items():
        stage, evaluation, metric = key.split("/", 2)
        new = Group(stage, evaluation, result.get("protocol") or "", result.get("card") or {}, [])
        groups.setdefault((stage, evaluation), new).results.append(result_of(metric, result))
    return list(groups.values())


def columns(groups: Sequence[Group]) -> dict[str, str]:
    """Title the numbers that stand beside values, by their names; those that no metric has are left out."""
    results = [result for group in groups for result in group.results]
    return {name: title for name, title in COLUMNS.items() if any(getattr(one, name) is not None for one in results)}


def result_of(metric: str, entry: Mapping[str, Any]) -> Result:
    """Read an entry of an evaluation.json."""
    expected, ends = entry.get("expected") or {}, entry.get("interval")
    numbers = [entry.get("value"), entry.get("chance"), entry.get("shuffled"), entry.get("ceiling")]
    numbers += [expected.get("value"), *(ends or ())]
    # Most metrics are shares of one; a score that is not (CIDEr) gets a bar as long as the largest number beside it.
    return Result(
        metric=titled(metric),
        value=float(entry["value"]),
        interval=ends,
        chance=entry.get("chance"),
        shuffled=entry.get("shuffled"),
        ceiling=entry.get("ceiling"),
        expected=_expected(expected) if expected else None,
        less_is_better=bool(entry.get("less_is_better")),
        n=entry["n"],
        full=max(1.0, *(number for number in numbers if number is not None)),
    )


def titled(metric: str) -> str:
    """Write a metric's name as people read it."""
    return re.sub(r"\br(\d+)\b", r"R@\1", metric.replace("_", " "))


def signed(gap: float) -> str:
    """Show a difference with its sign."""
    return f"{'−' if gap < 0 else '+'}{score(abs(gap))}"


def _expected(entry: Mapping[str, Any]) -> Expected:
    source = ", ".join(str(entry[key]) for key in ("source", "model") if entry.get(key))
    return Expected(float(entry["value"]), entry.get("tolerance"), source)
