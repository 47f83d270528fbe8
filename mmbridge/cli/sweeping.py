"""`sweep`: variants of a config, each with several seeds, side by side."""

from typing import Annotated

import typer
from mmbridge_registry.discovery import discover

from mmbridge.cli.arguments import Json, Overrides, print_json, print_table
from mmbridge.sweep.carrying import carry_out
from mmbridge.sweep.comparing import Comparison
from mmbridge.sweep.reading import load_sweep
from mmbridge.sweep.showing import MARKDOWN, WORDS, as_dict, cells, columns, notes, write
from mmbridge.weights import locate_all

app = typer.Typer()


@app.command()
def sweep(
    file: Annotated[str, typer.Argument(help="A sweep's YAML file, or the name of a shipped one.", show_default=False)],
    overrides: Overrides = None,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at a time.")] = 1,
    json: Json = False,
) -> None:
    """Run variants of a config with several seeds and compare them; the same command again goes on."""
    found = discover()
    declared = load_sweep(file, overrides or [], found)
    declared.check()
    for run in declared.runs:
        locate_all(run.recipe, found.catalog)
    failed = carry_out(declared, jobs, lambda text: typer.echo(text, err=True), lambda: write(Comparison.of(declared)))
    compared = Comparison.of(declared, failed)
    write(compared)
    if json:
        print_json(as_dict(compared))
    else:
        titles = columns(compared)
        print_table(declared.folder.name, titles, cells(compared), numbers=len(titles) - WORDS)
        typer.echo("\n".join([*notes(compared), f"written: {declared.folder / MARKDOWN}"]))
    if failed:
        raise typer.Exit(1)
