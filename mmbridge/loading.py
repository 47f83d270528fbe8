"""Load: from a run directory to a model that answers."""

from collections.abc import Iterable
from pathlib import Path

import torch
from mmbridge_registry import UserError
from mmbridge_registry.discovery import Discovered, discover

from mmbridge import checkpoint
from mmbridge.assemble import assemble
from mmbridge.checkpoint import Checkpoint
from mmbridge.config import load_recipe, read_yaml
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
    return Model(restored(recipe, found, newest_of(directory, recipe.stages, stage), device))


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


def newest_of(directory: RunDirectory, stages: Iterable[str], stage: str | None = None) -> Checkpoint:
    """Find the newest checkpoint of a stage, or of the last of a run's `stages` that has one.

    Raises:
        UserError: the run has no such stage, or no complete checkpoint.
    """
    stages = list(stages)
    if stage is not None and stage not in stages:
        raise UserError(f"it has no stage '{stage}'; its stages: {', '.join(stages)}.", where=directory.path)
    for name in [stage] if stage else reversed(stages):
        trained, _ = checkpoint.newest(directory.checkpoints(name))
        if trained is not None:
            return trained
    of_stage = f" of stage '{stage}'" if stage else ""
    raise UserError(f"there is no complete checkpoint{of_stage} yet.", where=directory.path, do="Run it first.")


def start_of(path: Path, where: str) -> Checkpoint:
    """Open what a stage's `start` names: a checkpoint, or a run, of which its last stage's newest one counts.

    Raises:
        UserError: it is neither, or the checkpoint is not complete.
    """
    if (path / checkpoint.MANIFEST).exists():
        return checkpoint.read(path)
    directory = RunDirectory(path)
    if not directory.resolved.exists():
        raise UserError(f"{path} is neither a run nor a checkpoint.", where=where)
    return newest_of(directory, read_yaml(directory.resolved)["stages"])


def _device(device: str) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)
