"""`evaluate`, `report` and `diff`: what a run has learned, measured again, written up, beside another."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

import typer
from mmbridge_registry import UserError
from mmbridge_registry.discovery import discover
from rich.console import Console

from mmbridge.cli.arguments import Json, Overrides, RunFolder, print_json, print_table
from mmbridge.config import load_recipe
from mmbridge.diff import diff as compare
from mmbridge.evaluate import evaluate_run
from mmbridge.figures import number
from mmbridge.results import table_of

app = typer.Typer()

SHOWN = 40
"""Differences of config or lock that are printed."""
OneStage = Annotated[str | None, typer.Option(help="Only this stage; by default all that have a checkpoint.")]


@app.command()
def evaluate(
    run: RunFolder,
    overrides: Overrides = None,
    evaluations: Annotated[
        str | None, typer.Option(help="Make the evaluations of this config (overrides apply to it) instead.")
    ] = None,
    stage: OneStage = None,
    json: Json = False,
) -> None:
    """Make a run's evaluations again with its newest checkpoints, and its report."""
    from mmbridge import report as reports

    if overrides and evaluations is None:
        what = "a run is evaluated as its own config says; overrides apply to another's."
        raise UserError(what, where=overrides[0], do="Name the config: --evaluations CONFIG.")
    found = discover()
    asked = load_recipe(evaluations, overrides or [], found).evaluate if evaluations else None
    results = evaluate_run(run, found, stage, asked)
    written = reports.write(run)
    if json:
        return print_json(results)
    Console().print(table_of(results))
    return typer.echo(f"report: {written}")


@app.command()
def report(run: RunFolder) -> None:
    """Write a run's report.html, from as much as is there yet."""
    from mmbridge import report as reports

    typer.echo(reports.write(run))


@app.command()
def diff(first: RunFolder, second: RunFolder, json: Json = False) -> None:
    """Say why two runs differ: config, versions, weights, data, results; exit code 1 if they do, as of `diff`."""
    found = compare(first, second)
    if json:
        print_json({"same": found.same} | asdict(found))
    else:
        _print_pairs("config", first.name, second.name, found.config)
        _print_pairs("what it ran with", first.name, second.name, found.lock)
        for title, pairs in (("results", found.results), ("speed", found.speed)):
            rows = [(key, _figure(one), _figure(other), _change(one, other)) for key, (one, other) in pairs.items()]
            if rows:
                print_table(title, ["", first.name, second.name, "difference"], rows, numbers=3)
        typer.echo("the same." if found.same else "different.")
    raise typer.Exit(0 if found.same else 1)


def _print_pairs(title: str, first: str, second: str, pairs: Mapping[str, tuple[Any, Any]]) -> None:
    rows = [(key, *("–" if value is None else value for value in pair)) for key, pair in pairs.items()]
    if rows:
        more = f" ({len(rows)} differences, the first {SHOWN}; --json has all)" if len(rows) > SHOWN else ""
        print_table(f"{title}{more}", ["", first, second], rows[:SHOWN])


def _figure(value: Any) -> str:
    return number(value, 4) if isinstance(value, int | float) else str(value or "–")


def _change(first: Any, second: Any) -> str:
    if isinstance(first, int | float) and isinstance(second, int | float):
        return "" if first == second else f"{'+' if second > first else ''}{number(second - first)}"
    return ""
