"""`evaluate` and `report`: what a run has learned, measured again and written up."""

from typing import Annotated

import typer
from mmbridge_registry import UserError
from mmbridge_registry.discovery import discover
from rich.console import Console

from mmbridge.cli.arguments import Json, Overrides, RunFolder, print_json
from mmbridge.config import load_recipe
from mmbridge.evaluate import evaluate_run, table_of

app = typer.Typer()

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
