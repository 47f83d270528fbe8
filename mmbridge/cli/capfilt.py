"""`data capfilt`: new captions for a data set, the best of which are kept."""

import os
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer
from mmbridge_registry.discovery import discover

from mmbridge.capfilt.recipe import load_capfilt
from mmbridge.cli.arguments import Config, Json, Overrides, print_json, print_table
from mmbridge.cli.watching import watched
from mmbridge.figures import count, number

if TYPE_CHECKING:
    from mmbridge.capfilt.pipeline import Pipeline

NAMED = 5
"""Unusable records that are named."""


def capfilt(config: Config, overrides: Overrides = None, json: Json = False) -> None:
    """Caption every image anew, rank the captions beside the web's own, and write the best as tars.

    The same command again goes on. Under torchrun each rank makes its share.
    """
    found = discover()
    recipe = load_capfilt(config, overrides or [], found)

    from mmbridge.capfilt.pipeline import Pipeline

    rank, world_size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    pipeline = Pipeline.of(recipe, found.catalog, rank, world_size)
    with watched(shown=rank == 0) as watch:
        pipeline.run(watch)
    if rank == 0:
        _show(pipeline, json)


def _show(pipeline: "Pipeline", json: bool) -> None:
    figures, output = pipeline.figures(), pipeline.recipe.settings.output
    if json:
        return print_json(asdict(figures) | {"output": str(output), "shards": pipeline.shards})
    kept = max(1, figures.kept)
    row = (
        count(figures.images), count(len(figures.bad)), count(figures.made), count(figures.kept),
        f"{100 * figures.kept_from_web / kept:.1f} %", number(figures.score / kept),
        number(figures.images / figures.seconds) if figures.seconds else "–",
    )  # fmt: skip
    columns = ["images", "unusable", "captions made", "kept", "of them the web's", "mean score", "images/s"]
    print_table(str(output), columns, [row], numbers=len(columns))
    for name, why in figures.bad[:NAMED]:
        typer.echo(f"unusable: {name}: {why}", err=True)
    if rest := len(figures.bad) - NAMED if len(figures.bad) > NAMED else 0:
        typer.echo(f"and {rest} more: see `bad` in {output}/*.json", err=True)
    return None
