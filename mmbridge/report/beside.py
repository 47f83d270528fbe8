"""Two runs beside each other: curves in the same panels, results with their differences, the same images twice."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmbridge.diff import Pair, diff
from mmbridge.report.curves import Panel, panels
from mmbridge.report.gallery import Shown, galleries
from mmbridge.report.page import put, rendered
from mmbridge.report.reading import RunRecord, read
from mmbridge.report.results import Result, result_of, signed, titled
from mmbridge.report.summary import facts, parts, stages, took


@dataclass(frozen=True)
class Row:
    """One metric of both runs; None where a run does not have it."""

    metric: str
    one: Result | None
    other: Result | None

    @property
    def change(self) -> str:
        """Show the other's value minus the one's."""
        return signed(self.other.value - self.one.value) if self.one and self.other else ""

    @property
    def intervals(self) -> str:
        """Say whether the 95 % intervals overlap; nothing if one was not estimated."""
        if self.one is None or self.other is None or self.one.interval is None or self.other.interval is None:
            return ""
        (low, high), (other_low, other_high) = self.one.interval, self.other.interval
        return "overlap" if low <= other_high and other_low <= high else "apart"


@dataclass(frozen=True)
class Same:
    """The examples of one evaluation that both runs show."""

    stage: str
    evaluation: str
    shown: list[tuple[Shown, Shown]]


def write(first: Path, second: Path, target: Path | None = None) -> Path:
    """Write a page about two runs, by default `report-vs-<second>.html` in the first one's folder; give its path.

    Raises:
        UserError: one of them is no run, or a file of it cannot be read.
    """
    target = target or first / f"report-vs-{second.resolve().name}.html"
    return put(render(read(first), read(second)), target)


def render(one: RunRecord, other: RunRecord) -> str:
    """Turn what is known of two runs into HTML."""
    runs, found = (one, other), diff(one.directory.path, other.directory.path)
    return rendered(
        "beside.html",
        names=names(one, other),
        runs=[{"record": run, "parts": parts(run), "facts": facts(run), "took": took(run)} for run in runs],
        stages=[{stage.name: stage for stage in stages(run)} for run in runs],
        differences=[("Config", _told(found.config)), ("What they ran with", _told(found.lock))],
        results=results(one, other),
        panels=panels_of(one, other),
        same=same_examples(one, other),
    )


def names(one: RunRecord, other: RunRecord) -> tuple[str, str]:
    """Name two runs so that one can tell them apart."""
    if one.name != other.name:
        return one.name, other.name
    return str(one.directory.path), str(other.directory.path)


def results(one: RunRecord, other: RunRecord) -> list[tuple[str, str, list[Row]]]:
    """Put results side by side, by stage and evaluation."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for key in dict.fromkeys((*one.results, *other.results)):
        stage, evaluation, metric = key.split("/", 2)
        pair = [result_of(metric, entry) if entry else None for entry in (one.results.get(key), other.results.get(key))]
        full = max(result.full for result in pair if result)
        row = Row(titled(metric), *(replace(result, full=full) if result else None for result in pair))
        groups.setdefault((stage, evaluation), []).append(row)
    return [(*pair, rows) for pair, rows in groups.items()]


def panels_of(one: RunRecord, other: RunRecord) -> dict[str, list[Panel]]:
    """Draw the curves of both, stage by stage."""
    pair = names(one, other)
    return {
        stage: panels({name: run.lines.get(stage, []) for name, run in zip(pair, (one, other), strict=True)})
        for stage in dict.fromkeys((*one.lines, *other.lines))
    }


def same_examples(one: RunRecord, other: RunRecord) -> list[Same]:
    """Find the examples with the same image and question in both."""
    others = {
        (gallery.stage, gallery.evaluation, shown.picture.identity, shown.question): shown
        for gallery in galleries(other)
        for shown in gallery.shown
    }
    found = []
    for gallery in galleries(one):
        keyed = [
            ((gallery.stage, gallery.evaluation, shown.picture.identity, shown.question), shown)
            for shown in gallery.shown
        ]
        found.append(
            Same(gallery.stage, gallery.evaluation, [(mine, others[key]) for key, mine in keyed if key in others])
        )
    return [same for same in found if same.shown]


def _told(pairs: Mapping[str, Pair]) -> dict[str, tuple[str, str]]:
    def word(value: Any) -> str:
        return "–" if value is None else str(value)

    return {key: (word(one), word(other)) for key, (one, other) in pairs.items()}
