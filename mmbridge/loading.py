"""Load: from a run directory to a model that answers."""

from pathlib import Path

import torch
from mmbridge_registry import UserError
from mmbridge_registry.discovery import Discovered, discover

from mmbridge import checkpoint
from mmbridge.assemble import assemble
from mmbridge.checkpoint import Checkpoint
from mmbridge.config import load_recipe
from mmbridge.handoff import hand_over
from mmbridge.inference import Model
from mmbridge.model import BridgedModel
from mmbridge.recipe import Recipe
from mmbridge.run_directory import RunDirectory


def load(run: str | Path, stage: str | None = None, device: str = "auto") -> Model:
    """Load what a run has trained: the newest checkpoint of `stage`, or of its last stage that has one.

    Raises:
        UserError: the directory is no run, has no such stage or no checkpoint, or weights are not on this machine.
    """
    found = discover()
    directory, recipe = opened(Path(run), found)
    return Model(restored(recipe, found, newest_of(directory, recipe, stage), device))


def opened(run: Path, found: Discovered) -> tuple[RunDirectory, Recipe]:
    """Read a run's own recipe.

    Raises:
        UserError: the directory is no run.
    """
    directory = RunDirectory(run)
    if not directory.resolved.exists():
        raise UserError("this is not a run directory.", where=run, do="Give one that `mmbridge run` made.")
    return directory, load_recipe(directory.resolved, [], found)


def restored(recipe: Recipe, found: Discovered, trained: Checkpoint, device: str = "auto") -> BridgedModel:
    """Assemble a recipe's model with the tensors of a checkpoint in it, in eval mode."""
    model = assemble(recipe, found.catalog)
    hand_over(trained.weights(), model, str(trained.path))
    return model.to(_device(device)).eval()


def newest_of(directory: RunDirectory, recipe: Recipe, stage: str | None = None) -> Checkpoint:
    """Find the newest checkpoint of a stage, or of the last stage that has one.

    Raises:
        UserError: the run has no such stage, or no complete checkpoint.
    """
    if stage is not None and stage not in recipe.stages:
        raise UserError(f"it has no stage '{stage}'; its stages: {', '.join(recipe.stages)}.", where=directory.path)
    for name in [stage] if stage else reversed(recipe.stages):
        trained, _ = checkpoint.newest(directory.checkpoints(name))
        if trained is not None:
            return trained
    of_stage = f" of stage '{stage}'" if stage else ""
    raise UserError(f"there is no complete checkpoint{of_stage} yet.", where=directory.path, do="Run it first.")


def _device(device: str) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)
