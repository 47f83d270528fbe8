"""`fetch`: the only command that downloads."""

import typer
from mmbridge_registry.discovery import discover

from mmbridge import weights
from mmbridge.cli.arguments import Config, Overrides
from mmbridge.config import load_recipe

app = typer.Typer()


@app.command()
def fetch(config: Config, overrides: Overrides = None) -> None:
    """Download the weights that a config names by hub id; a run itself never downloads."""
    found = discover()
    recipe = load_recipe(config, overrides or [], found)
    for name, folder in weights.fetch(recipe, found.catalog):
        typer.echo(f"fetched {name}: {folder}")
    for name, folder in weights.locate_all(recipe, found.catalog).items():
        typer.echo(f"{name}: {folder}")
