"""`run`: carry out a config."""

import typer
from mmbridge_registry import UserError
from mmbridge_registry.discovery import discover
from rich.console import Console

from mmbridge.cli.arguments import Config, Overrides
from mmbridge.config import load_recipe
from mmbridge.weights import locate_all

app = typer.Typer()


@app.command()
def run(context: typer.Context, config: Config, overrides: Overrides = None) -> None:
    """Train and evaluate; the same command again goes on where it stopped."""
    found = discover()
    recipe = load_recipe(config, overrides or [], found)
    if not recipe.stages:
        do = "Write a config with stages; each can say `start: THIS_FOLDER`."
        raise UserError("this config has no stages: there is nothing to run.", where=recipe.source, do=do)
    locate_all(recipe, found.catalog)

    from mmbridge import runner
    from mmbridge.launch import launch, ranks_to_start
    from mmbridge.leaving import AskedToEndError

    ranks = ranks_to_start(recipe.run)
    if ranks > 1:
        raise typer.Exit(launch(ranks, context.obj))
    try:
        runner.run(recipe, found, Console())
    except AskedToEndError as left:  # it has said so
        raise typer.Exit(left.exit_code) from left
