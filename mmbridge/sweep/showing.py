"""A comparison as people and programs read it: a table, sweep.md, sweep.json."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from mmbridge.disk import publish
from mmbridge.figures import interval, score
from mmbridge.sweep.comparing import Comparison
from mmbridge.sweep.intervals import Mean

JSON, MARKDOWN = "sweep.json", "sweep.md"
WORDS = 2
"""Columns of words; those of numbers follow."""


def columns(compared: Comparison) -> list[str]:
    """Name the columns of the table."""
    return ["result", "variant", "mean", "95 %", f"minus {compared.sweep.reference}", "95 %", "", "seeds", "chance"]


def cells(compared: Comparison) -> Iterator[list[str]]:
    """Lay the rows out; a result is named in the first of its rows."""
    before = ""
    for row in compared.rows:
        name, before = ("" if row.result == before else row.result), row.result
        seeds = str(row.mean.n)
        if row.difference and row.difference.n < row.mean.n:
            seeds = f"{seeds} ({row.difference.n} in both)"
        differs = "differs" if row.differs else ""
        yield [name, row.variant, *_mean(row.mean), *_mean(row.difference, "+"), differs, seeds, score(row.chance)]


def notes(compared: Comparison) -> Iterator[str]:
    """Say how to read the table, and what is missing or wrong in it."""
    tested = sum(row.difference is not None and row.difference.interval is not None for row in compared.rows)
    yield (
        "Means over seeds, with 95 % intervals by Student's t. Differences are taken seed by seed; `differs`: its "
        f"interval excludes 0. Of differences that are none, one in twenty is marked; {tested} were looked at."
    )
    for why in dict.fromkeys(compared.missing.values()):
        names = ", ".join(name for name, one in compared.missing.items() if one == why)
        yield f"Not in the table: {names}: {why.rstrip('.')}."
    for row in compared.rows:
        if len(row.protocols) > 1:
            yield f"Not measured alike: {row.result} of {row.variant}: {' | '.join(row.protocols)}."
    seen = {key for row in compared.rows for key in (row.result, row.result.partition("/")[2])}
    for asked in compared.sweep.settings.compare:
        if compared.rows and asked not in seen:
            yield f"No finished run has a result '{asked}'."


def as_dict(compared: Comparison) -> dict[str, Any]:
    """Give everything for JSON: the runs, and results by key and variant."""
    results: dict[str, dict[str, Any]] = {}
    for row in compared.rows:
        difference = row.difference and asdict(row.difference) | {"differs": row.differs}
        one = {**asdict(row.mean), "values": row.values, "chance": row.chance, "difference": difference}
        results.setdefault(row.result, {})[row.variant] = one
    runs = {
        run.name: {
            "variant": run.variant,
            "seed": run.seed,
            "missing": compared.missing.get(run.name),
            "command": run.command,
        }
        for run in compared.sweep.runs
    }
    return {"reference": compared.sweep.reference, "runs": runs, "results": results, "notes": list(notes(compared))}


def write(compared: Comparison) -> None:
    """Write both files beside the runs."""
    folder, titles = compared.sweep.folder, columns(compared)
    rule = ["---"] * WORDS + ["---:"] * (len(titles) - WORDS)
    table = "\n".join(_line(row) for row in (titles, rule, *cells(compared)))
    text = "\n\n".join((f"# {folder.name}", table, *notes(compared)))
    publish(folder / MARKDOWN, 0, lambda path: path.write_text(f"{text}\n", encoding="utf-8"))
    publish(folder / JSON, 0, lambda path: path.write_text(json.dumps(as_dict(compared), indent=1)))


def _mean(mean: Mean | None, sign: str = "") -> tuple[str, str]:
    return ("", "") if mean is None else (f"{mean.value:{sign}.3f}", interval(mean.interval))


def _line(texts: Sequence[str]) -> str:
    return f"| {' | '.join(texts)} |"
