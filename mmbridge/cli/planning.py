"""`plan`: what a config would train and hold, without its weights."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from mmbridge_registry.discovery import discover

from mmbridge.cli.arguments import Config, Json, Overrides, print_json, print_table
from mmbridge.config import load_recipe

if TYPE_CHECKING:
    from mmbridge.memory import StageMemory
    from mmbridge.plan import Plan

app = typer.Typer()


@app.command()
def plan(
    config: Config,
    overrides: Overrides = None,
    ranks: Annotated[int, typer.Option(min=1, help="GPUs that share the batch.")] = 1,
    json: Json = False,
) -> None:
    """Count parameters, bytes, steps and samples; weights need not be on this machine."""
    found = discover()
    recipe = load_recipe(config, overrides or [], found)

    from mmbridge import plan as planning
    from mmbridge.feed import check_division
    from mmbridge.memory import foretell
    from mmbridge.outline import outline

    for name, stage in recipe.stages.items():
        check_division(name, stage, ranks)
    parts = outline(recipe, found.catalog)
    result = planning.plan(recipe, found.catalog, parts)
    if json:
        memory = foretell(recipe, parts, found.catalog, ranks)
        stages = {name: {**asdict(stage), "memory": memory[name].as_dict()} for name, stage in result.stages.items()}
        return print_json(result.as_dict() | {"stages": stages})
    _print_parts(result)
    # A step of a large model takes half a minute to rehearse: what is known already is shown before.
    return _print_memory(foretell(recipe, parts, found.catalog, ranks), ranks)


def _print_parts(result: "Plan") -> None:
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
            f"{stage.steps:,}",
            f"{stage.batch_size:,}",
            f"{stage.samples:,}",
        )
        for name, stage in result.stages.items()
    ]
    columns = ["stage", "trains", "trainable", "frozen", "steps", "batch", "samples"]
    print_table("stages", columns, stages, numbers=5)


def _print_memory(memory: "Mapping[str, StageMemory]", ranks: int) -> None:
    columns = ["stage", "placement", "frozen", "trained", "gradients", "AdamW", "activations", "sum"]
    lines = []
    for name, one in memory.items():
        known = map(_gigabytes, (one.frozen, one.trained, one.gradients, one.moments))
        activations = "?" if one.activations is None else _gigabytes(one.activations)
        lines.append((name, one.placement, *known, activations, _gigabytes(one.total)))
    print_table(f"GB on each of {ranks} GPUs" if ranks > 1 else "GB on one GPU", columns, lines, numbers=6)
    choices = list(next(iter(memory.values())).instead) if memory else []
    instead = [(name, *(_gigabytes(one.total_if(choice)) for choice in choices)) for name, one in memory.items()]
    print_table("sum in GB if frozen towers are", ["stage", *choices], instead, numbers=len(choices))
    for name, one in memory.items():
        if one.unknown:
            typer.echo(f"{name}: activations are not known, {one.unknown}")


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.3f}"
