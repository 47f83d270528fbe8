"""`data features`: write the features of a frozen encoder, which runs then read instead of images."""

import os
from typing import TYPE_CHECKING, Any

import typer
from mmbridge_registry import UserError
from mmbridge_registry.discovery import discover

from mmbridge.cli.arguments import Config, Json, Overrides, print_json, print_table
from mmbridge.cli.watching import watched
from mmbridge.config import load_recipe
from mmbridge.figures import count
from mmbridge.recipe import Recipe

if TYPE_CHECKING:
    from mmbridge.features.writing import Work
    from mmbridge.watch import Watch


def features(config: Config, overrides: Overrides = None, json: Json = False) -> None:
    """Write the vision encoder's features of all data that stages read; the same command again goes on.

    Under torchrun each rank writes its share.
    """
    found = discover()
    recipe = load_recipe(config, overrides or [], found)
    if recipe.features is None:
        do = "Say where features shall lie: features.folder=FOLDER, here and for `run`."
        raise UserError("this config has no section 'features'.", where=recipe.source, do=do)
    if not recipe.stages:
        raise UserError("this config has no stages: nothing would read its features.", where=recipe.source)
    rank, world_size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    with watched(shown=rank == 0) as watch:
        rows = _write(recipe, found.catalog, rank, world_size, watch)
    if rank == 0:
        _show(rows, json, world_size)


def _write(recipe: Recipe, catalog: Any, rank: int, world_size: int, watch: "Watch") -> list[dict[str, Any]]:
    from mmbridge.features.writing import Writer, bytes_to_write, gigabytes

    writer = Writer.of(recipe, catalog, rank, world_size, watch)
    works = writer.prepare()
    if rank == 0:
        for work in works:
            shape = " x ".join(map(str, work.manifest.shape))
            form = f"{count(work.manifest.images)} images x {shape} {work.manifest.dtype}"
            typer.echo(f"{work.folder}: {form}, {gigabytes(bytes_to_write(work))} to write", err=True)
    return [_row(work, writer.write(work)) for work in works]


def _row(work: "Work", seconds: float) -> dict[str, Any]:
    from mmbridge.features.writing import unreadable_images

    return {
        "name": work.name,
        "folder": str(work.folder),
        "records": work.manifest.records,
        "images": work.manifest.images,
        "unreadable": unreadable_images(work),
        "views": work.manifest.shape[0],
        "bytes": work.manifest.images * work.manifest.bytes_per_image,
        "written": work.images,
        "images_per_second": round(work.images / seconds, 1) if work.images else None,
    }


def _show(rows: list[dict[str, Any]], json: bool, world_size: int) -> None:
    if json:
        return print_json(rows)
    shown = [
        (row["name"], count(row["records"]), count(row["images"]), row["unreadable"], row["views"],
         f"{row['bytes'] / 1e9:.3g}", count(row["written"]), row["images_per_second"] or "–")
        for row in rows
    ]  # fmt: skip
    columns = ["data", "records", "images", "unreadable", "views", "GB", "written now", "images/s"]
    share = f" (rank 0 of {world_size}; the others write their own)" if world_size > 1 else ""
    return print_table(f"features{share}", columns, shown, numbers=7)
