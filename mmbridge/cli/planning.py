"""`plan`: what a config would train and hold, without its weights."""

import typer
from mmbridge_registry.discovery import discover

from mmbridge.cli.arguments import Config, Json, Overrides, print_json, print_table
from mmbridge.config import load_recipe

app = typer.Typer()


@app.command()
def plan(config: Config, overrides: Overrides = None, json: Json = False) -> None:
    """Count parameters, bytes, steps and samples; weights need not be on this machine."""
    found = discover()
    recipe = load_recipe(config, overrides or [], found)

    from mmbridge import plan as planning

    result = planning.plan(recipe, found.catalog)
    if json:
        return print_json(result.as_dict())
    parts = [
        (key, part.name, part.plugin, f"{part.parameters:,}", _gigabytes(part.bytes))
        for key, part in result.parts.items()
    ]
    print_table("model", ["part", "name", "from", "parameters", "GB"], parts, numbers=2)
    stages = [
        (
            name,
            ", ".join(f"{part} {count:,}" for part, count in stage.trainable.items()),
            f"{stage.trainable_parameters:,}",
            f"{stage.frozen_parameters:,}",
            _gigabytes(stage.bytes),
            f"{stage.steps:,}",
            f"{stage.batch_size:,}",
            f"{stage.samples:,}",
        )
        for name, stage in result.stages.items()
    ]
    columns = ["stage", "trains", "trainable", "frozen", "GB per rank", "steps", "batch", "samples"]
    print_table("stages (GB: parameters, gradients, optimizer; no activations)", columns, stages, numbers=6)
    return None


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.3f}"
