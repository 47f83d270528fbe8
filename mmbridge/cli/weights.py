"""`fetch`: the only command that downloads."""

from pathlib import Path
from typing import Annotated

import typer
from mmbridge_registry.discovery import discover

from mmbridge import weights
from mmbridge.cli.arguments import Overrides
from mmbridge.config import load_recipe

app = typer.Typer()


What = Annotated[str, typer.Argument(help="A config, or a hub id (owner/name, owner/name@revision).")]


@app.command()
def fetch(config: What, overrides: Overrides = None) -> None:
    """Download the weights that a config names by hub id, or one hub id; a run itself never downloads."""
    if weights.HUB_ID.fullmatch(config) and not (config.endswith((".yaml", ".yml")) or Path(config).exists()):
        return typer.echo(f"fetched {config}: {weights.download(config)}")
    found = discover()
    recipe = load_recipe(config, overrides or [], found)
    for name, folder in weights.fetch(recipe, found.catalog):
        typer.echo(f"fetched {name}: {folder}")
    for name, folder in weights.locate_all(recipe, found.catalog).items():
        typer.echo(f"{name}: {folder}")
    return None
