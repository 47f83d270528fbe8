"""`evaluate`, `report` and `diff`: what a run has learned, measured again, written up, beside another."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from mmbridge_registry import UserError
from mmbridge_registry.discovery import Discovered, discover
from rich.console import Console

from mmbridge.cli.arguments import Json, Overrides, RunFolder, print_json, print_table
from mmbridge.config import load_by_card, load_recipe
from mmbridge.diff import diff as compare
from mmbridge.figures import number
from mmbridge.recipe import Evaluate, Run
from mmbridge.results import table_of
from mmbridge.run_directory import RunDirectory

app = typer.Typer()

SHOWN = 40
"""Differences of config or lock that are printed."""
OneStage = Annotated[str | None, typer.Option(help="Only this stage; by default all that have a checkpoint.")]


@app.command()
def evaluate(
    context: typer.Context,
    run: RunFolder,
    overrides: Overrides = None,
    evaluations: Annotated[
        str | None, typer.Option(help="Make the evaluations of this config (overrides apply to it) instead.")
    ] = None,
    card: Annotated[
        str | None, typer.Option(help="Make the evaluation of this card (a file, or shipped; overrides apply to it).")
    ] = None,
    stage: OneStage = None,
    json: Json = False,
) -> None:
    """Make a run's evaluations again with its newest checkpoints, or one of them, and its report."""
    from mmbridge import report as reports

    found = discover()
    asked = _asked(run, evaluations, card, overrides or [], found)
    # These import torch: not before mistakes are told.
    from mmbridge.evaluate import evaluate_run
    from mmbridge.launch import launch, ranks_to_start

    if (ranks := ranks_to_start(Run())) > 1:
        raise typer.Exit(launch(ranks, context.obj))
    results = evaluate_run(run, found, stage, asked)
    if results is None:  # a rank that has helped the first
        return None
    written = reports.write(_config_of(run, found).parent)
    if json:
        return print_json(results)
    Console().print(table_of(results))
    return typer.echo(f"report: {written}")


def _asked(
    run: Path, evaluations: str | None, card: str | None, overrides: list[str], found: Discovered
) -> dict[str, Evaluate] | None:
    if evaluations and card:
        raise UserError(
            "these are evaluations of a config and of a card.", where="command line", do="Name one of both."
        )
    if evaluations:
        return load_recipe(evaluations, overrides, found).evaluate
    if card:
        return load_by_card(_config_of(run, found), card, overrides, found)
    if overrides:
        what = "a run is evaluated as its own config says; overrides apply to another's, or to a card."
        raise UserError(what, where=overrides[0], do="Name it: --evaluations CONFIG, or --card CARD.")
    return None


def _config_of(run: Path, found: Discovered) -> Path:
    """Find the config of a run, or of the run that a checkpoint is of, without torch."""
    config = RunDirectory.around(run).resolved
    if config.exists():
        return config
    from mmbridge import loading

    return loading.opened(run, found)[0].resolved  # it may be a checkpoint of another project


@app.command()
def report(
    run: RunFolder,
    other: Annotated[
        Path | None, typer.Argument(help="Another run: both are put side by side.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Write this file; by default report.html, or report-vs-OTHER.html, in the run's folder."),
    ] = None,
) -> None:
    """Write a run's report.html, from as much as is there yet; with another run, a page about both."""
    from mmbridge import report as reports
    from mmbridge.report import beside

    typer.echo(reports.write(run, out) if other is None else beside.write(run, other, out))


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
