"""How `data doctor` tells what it found: a table per data set, and a line per stage and evaluation."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mmbridge.cli.arguments import PIPE_WIDTH
from mmbridge.data.defects import DEFECTS, ODDITIES, SPOILT_IMAGES, SPOILT_WORDS
from mmbridge.data.diagnosis import Case, Diagnosis, Finding
from mmbridge.data.doctor import Forecast
from mmbridge.data.examining import Limits
from mmbridge.data.opening import Opened
from mmbridge.figures import count

QUOTED = 48
"""Letters of a name or a reason that a table shows."""
LOOK = "worth a look"
WIDEST = 4 + max(map(len, DEFECTS.values()))
"""Letters of the first column, so that the tables of all data sets line up."""
TOLD = {"outside", "unreadable", *ODDITIES}
"""Defects whose details a table shows."""


def show(opened: Opened, diagnosis: Diagnosis | None, limits: Limits) -> None:
    """Print what was found out about a data set."""
    console = _console()
    title = f"[bold]{escape(opened.data_set.name)}[/] · {escape(opened.data_set.chosen.offer.name)}"
    if diagnosis is None:
        console.print(f"{title}\n  [red]cannot be opened[/]: {escape(opened.failure or '')}\n")
        return
    checked = "all" if diagnosis.checked == diagnosis.records else count(diagnosis.checked)
    console.print(f"{title} · {count(diagnosis.records)} records, {checked} checked")
    if diagnosis.findings:
        console.print(_table(diagnosis, bool(opened.data_set.data), limits))
    else:
        console.print("  nothing is wrong with them", style="green")
    if lengths := diagnosis.lengths:
        words = f"{lengths.shortest} to {lengths.longest} words, median {lengths.median}"
        console.print(f"  [dim]{count(lengths.captions)} captions of {words}[/]")
    console.print()


def show_forecast(outlook: Mapping[str, Forecast], limits: Limits) -> None:
    """Print whether stages and evaluations would get through, and what could not be checked."""
    console = _console()
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(no_wrap=True)
    table.add_column()
    for name, one in outlook.items():
        table.add_row(escape(name), "[red]would stop[/]" if one.stops else "[green]fine[/]", escape(one.reason))
    console.print(table)
    if limits.side is None:
        console.print("[dim]Images smaller than the encoder's are not counted: its size is not in the config.[/]")


def as_dict(
    results: Iterable[tuple[Opened, Diagnosis | None]], outlook: Mapping[str, Forecast], limits: Limits
) -> dict[str, Any]:
    """Give everything as plain values, for JSON."""
    data_sets = [
        {
            "name": opened.data_set.name,
            "part": opened.data_set.chosen.offer.name,
            "failure": opened.failure,
            **({} if diagnosis is None else asdict(diagnosis)),
        }
        for opened, diagnosis in results
    ]
    forecasts = {name: asdict(one) for name, one in outlook.items()}
    fine = not any(one.stops for one in outlook.values())
    return {"fine": fine, "limits": asdict(limits), "data_sets": data_sets, "forecast": forecasts}


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False)


def _table(diagnosis: Diagnosis, trained_on: bool, limits: Limits) -> Table:
    spoilt = "unusable: training takes others" if trained_on else "unreadable: an evaluation stops"
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("", min_width=WIDEST, no_wrap=True)
    for column in ("records", "share"):
        table.add_column(column, justify="right", no_wrap=True, min_width=7)
    table.add_column("for example", no_wrap=True, overflow="ellipsis")
    for title, kinds in _blocks(spoilt, trained_on):
        found = [(kind, diagnosis.findings[kind]) for kind in kinds if kind in diagnosis.findings]
        if found:
            table.add_row(f"  {title}", style="yellow" if title == LOOK else "red")
        for kind, finding in found:
            share = f"{finding.count / diagnosis.checked:.1%}"
            table.add_row(f"    {_words(kind, limits)}", count(finding.count), share, _examples(kind, finding))
    return table


def _blocks(spoilt: str, trained_on: bool) -> Iterator[tuple[str, list[str]]]:
    """Put words that are missing where they matter: evaluations may not need them."""
    yield spoilt, [*SPOILT_IMAGES, *(SPOILT_WORDS if trained_on else ())]
    yield LOOK, [*(() if trained_on else SPOILT_WORDS), *ODDITIES]


def _words(kind: str, limits: Limits) -> str:
    if kind == "long_caption":
        return f"caption longer than {limits.words} words: cut"
    if kind == "enlarged":
        return f"side below the encoder's {limits.side} px"
    return DEFECTS[kind]


def _examples(kind: str, finding: Finding) -> str:
    named = ", ".join(_named(case, kind in TOLD) for case in finding.cases)
    return escape(f"{named}, ..." if finding.count > len(finding.cases) and kind != "common_caption" else named)


def _named(case: Case, told: bool) -> str:
    # Of long paths the end tells more, of long reasons the beginning.
    name = case.name if len(case.name) <= QUOTED else f"…{case.name[-QUOTED:]}"
    detail = case.detail if len(case.detail) <= QUOTED else f"{case.detail[:QUOTED]}…"
    return f"{name} ({detail})" if told and detail else name
