"""A run of the miniature as if both stages were done: real parts, shipped towers, a bridge that speaks."""

from pathlib import Path

import numpy as np
from mmbridge_registry.discovery import discover
from PIL import Image

from mmbridge import checkpoint
from mmbridge.assemble import assemble
from mmbridge.config import as_yaml, load_recipe
from mmbridge.inference import Model
from mmbridge.run_directory import RunDirectory


def tiny_model(config: str, batch_size: int = 32) -> Model:
    """Assemble a shipped miniature; its bridge and projection count as learned."""
    found = discover()
    recipe = load_recipe(config, [], found)
    model = assemble(recipe, found.catalog)
    model.learned.update(name for name in model.tensors() if name.startswith(("bridge.", "projection.")))
    return Model(model, batch_size)


def write_run(folder: Path, config: str = "blip2_tiny_opt") -> Path:
    """Write a run's directory with a checkpoint of the last stage."""
    found = discover()
    recipe = load_recipe(config, [f"run.directory={folder}", "run.name=tiny"], found)
    directory = RunDirectory.of(recipe)
    directory.path.mkdir(parents=True)
    directory.resolved.write_text(as_yaml(recipe.resolved))
    model = tiny_model(config).bridged
    for stage in recipe.stages:
        if stage == "representation":
            kept = {name: tensor for name, tensor in model.kept().items() if name.startswith("bridge.")}
        else:
            kept = model.kept()
        state = {"stage": stage, "step": recipe.stages[stage].steps}
        checkpoint.write(directory.checkpoints(stage), checkpoint.Snapshot.of(kept, state), keep=1)
    return directory.path


def photographs(count: int, side: int = 48) -> list[Image.Image]:
    """Pictures that differ a lot: smooth colours and shapes."""
    drawn = np.random.default_rng(1)
    small = drawn.integers(0, 256, (count, 3, 3, 3), dtype=np.uint8)
    return [Image.fromarray(one).resize((side, side + 9), Image.Resampling.NEAREST) for one in small]
