"""`evaluate` and `report`: what a run has learned, measured again and written up."""

from typing import Annotated

import typer
from mmbridge_registry.discovery import discover
from rich.console import Console

from mmbridge.cli.arguments import Json, RunFolder, print_json
from mmbridge.evaluate import evaluate_run, table_of

app = typer.Typer()

OneStage = Annotated[str | None, typer.Option(help="Only this stage; by default all that have a checkpoint.")]


@app.command()
def evaluate(run: RunFolder, stage: OneStage = None, json: Json = False) -> None:
    """Make a run's evaluations again with its newest checkpoints, and its report."""
    from mmbridge import report as reports

    results = evaluate_run(run, discover(), stage)
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
