"""`data`: open, examine and trace the data of a config, before a model is built."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer
from mmbridge_registry import UserError
from mmbridge_registry.catalog import did_you_mean
from mmbridge_registry.discovery import discover
from mmbridge_registry.opening import opening
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from mmbridge.cli.arguments import INTERRUPTED, Config, Json, Overrides, print_json, print_table
from mmbridge.cli.capfilt import capfilt
from mmbridge.cli.features import features
from mmbridge.config import load_recipe
from mmbridge.figures import count

if TYPE_CHECKING:
    from mmbridge.data.opening import DataSet
    from mmbridge.data.trace import Traced

app = typer.Typer()
group = typer.Typer(help="Open, examine and trace the data of a config.")
app.add_typer(group, name="data")
group.command()(features)
group.command()(capfilt)

NAMED = 3
"""Records with a defect that a table names."""


@group.command()
def index(
    config: Config,
    overrides: Overrides = None,
    workers: Annotated[
        int | None, typer.Option(help="Data sets opened at once; by default one per processor.", min=1)
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Index anew what has changed since it was indexed.")] = False,
    json: Json = False,
) -> None:
    """Open every data set, which indexes and converts it, so that runs begin at once; exit 1 if one cannot be."""
    found = discover()
    recipe = load_recipe(config, overrides or [], found)

    from mmbridge.data.indexing import index_all
    from mmbridge.data.opening import data_sets
    from mmbridge.data.processes import available

    with _opening_bars() as show:
        opened = index_all(data_sets(recipe), found.catalog, workers or available(), show, again)
    rows = [
        {
            "name": one.data_set.name,
            "part": one.data_set.chosen.offer.name,
            "records": one.records,
            "seconds": round(one.seconds, 3),
            "failure": one.failure,
        }
        for one in opened
    ]
    if json:
        print_json(rows)
    else:
        _show_opened(rows)
    if any(row["failure"] for row in rows):
        raise typer.Exit(1)


@group.command()
def doctor(
    config: Config,
    overrides: Overrides = None,
    everything: Annotated[bool, typer.Option("--all", help="Check every record.")] = False,
    sample: Annotated[int, typer.Option(help="Records to check of each data set, drawn by run.seed.", min=1)] = 1000,
    workers: Annotated[
        int | None, typer.Option(help="Processes that check; by default one per processor.", min=0)
    ] = None,
    json: Json = False,
) -> None:
    """Check the data before training does; exit 1 if it would stop a stage or an evaluation."""
    found = discover()
    recipe = load_recipe(config, overrides or [], found)

    from mmbridge.cli import diagnoses
    from mmbridge.data.doctor import Checkup, forecast, limits_of
    from mmbridge.data.opening import data_sets, open_one
    from mmbridge.data.processes import available

    limits = limits_of(recipe)
    asked = available() if workers is None else workers
    checkup = Checkup(None if everything else sample, asked, recipe.run.seed, limits, keep=None if json else NAMED)
    results = []
    for data_set in data_sets(recipe):
        with _progress() as bar:
            task = bar.add_task(f"opening {data_set.name}", total=None)
            with opening(lambda done, total, _, task=task: bar.update(task, completed=done, total=total)):
                opened = open_one(data_set, found.catalog)
            diagnosis = None
            if opened.dataset is not None:
                total = len(checkup.choose(data_set.name, len(opened.dataset)))
                bar.reset(task, description=f"checking {data_set.name}", total=total)
                diagnosis = checkup.diagnose(data_set.name, opened.dataset, partial(bar.advance, task))
        results.append((opened, diagnosis))
        if not json:
            diagnoses.show(opened, diagnosis, limits)
    outlook = forecast(recipe, [(opened.data_set, diagnosis) for opened, diagnosis in results])
    if json:
        print_json(diagnoses.as_dict(results, outlook, limits))
    else:
        diagnoses.show_forecast(outlook, limits)
    if any(one.stops for one in outlook.values()):
        raise typer.Exit(1)


@group.command()
def trace(
    config: Config,
    overrides: Overrides = None,
    step: Annotated[int, typer.Option(help="The step, as metrics.jsonl counts them: the first is 1.")] = 1,
    stage: Annotated[str | None, typer.Option(help="The stage; by default the first.")] = None,
    rows: Annotated[str, typer.Option(help="Rows of the global batch, as FIRST:END.", metavar="A:B")] = ":",
    json: Json = False,
) -> None:
    """Name the samples of a training step: data set, record, the caption drawn, and what others had to replace."""
    found = discover()
    recipe = load_recipe(config, overrides or [], found)
    if not recipe.stages:
        raise UserError("this config has no stages: no step was ever taken with it.", where=recipe.source)
    name = stage or next(iter(recipe.stages))
    if name not in recipe.stages:
        raise UserError(f"there is no stage '{name}'{did_you_mean(name, recipe.stages)}", where="--stage")
    chosen = recipe.stages[name]
    if not 1 <= step <= chosen.steps:
        raise UserError(f"stage {name} has the steps 1 to {chosen.steps}, not {step}.", where="--step")
    wanted = _rows(rows, chosen.batch_size)

    from mmbridge.data.trace import trace as trace_rows
    from mmbridge.feed import open_mixture

    mixture = open_mixture(recipe, chosen, found.catalog)
    traced = list(trace_rows(mixture, chosen.batch_size, step, wanted))
    if json:
        listed = [asdict(row) for row in traced]
        return print_json({"stage": name, "step": step, "batch_size": chosen.batch_size, "rows": listed})
    return _show_traced(f"{name}, step {step}", traced)


def _show_opened(rows: Sequence[dict[str, Any]]) -> None:
    shown = [
        (row["name"], row["part"], "–" if row["failure"] else count(row["records"]), f"{row['seconds']:.2f}")
        for row in rows
    ]
    print_table("data sets", ["name", "part", "records", "seconds"], shown, numbers=2)
    for row in rows:
        if row["failure"]:
            typer.echo(f"{row['name']} cannot be opened: {row['failure']}", err=True)


def _show_traced(title: str, traced: "Sequence[Traced]") -> None:
    """Print a line per row; columns that would be empty are left out."""
    columns = ["row", "position", "data", "record", "name", "text", "question", "answer", "instead of"]
    table = [
        (row.row, row.position, row.dataset, row.index, row.name, row.text, row.question or "", row.answer or "",
         "; ".join(f"{bad.name} ({bad.reason})" for bad in row.replaced))
        for row in traced
    ]  # fmt: skip
    kept = [place for place in range(len(columns)) if any(str(row[place]) for row in table)]
    print_table(title, [columns[place] for place in kept], [[row[place] for place in kept] for row in table])


def _rows(text: str, batch_size: int) -> range:
    """Read FIRST:END, either of which may be left out, as Python's slices are read."""
    try:
        first, end = (int(number) if number else None for number in text.split(":"))
        rows = range(batch_size)[first:end]
    except ValueError:
        rows = range(0)
    if not rows:
        raise UserError(f"'{text}' names no rows of 0 to {batch_size - 1}.", where="--rows", do="Say FIRST:END.")
    return rows


@contextmanager
def _opening_bars() -> Iterator[Callable[["DataSet", int, int | None, str], None]]:
    """Show a bar for each data set that says how far its opening is."""
    tasks: dict[str, TaskID] = {}
    with _progress() as bar:

        def show(data_set: "DataSet", done: int, total: int | None, unit: str) -> None:
            task = tasks.get(data_set.name)
            if task is None:
                task = tasks[data_set.name] = bar.add_task("")
            bar.update(task, description=f"{data_set.name}: {unit}", completed=done, total=total)

        bar.add_task("opening", total=None)
        yield show


@contextmanager
def _progress() -> Iterator[Progress]:
    """Show on a terminal how far a command is; Ctrl-C ends it quietly."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    console = Console(stderr=True)
    try:
        with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as bar:
            yield bar
    except KeyboardInterrupt:
        typer.echo("interrupted; what was indexed stays so.", err=True)
        raise typer.Exit(INTERRUPTED) from None
