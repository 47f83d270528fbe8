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
from mmbridge.importing import cached, recognised
from mmbridge.inference import Model
from mmbridge.model import BridgedModel
from mmbridge.recipe import IMPORTED, Recipe
from mmbridge.run_directory import RunDirectory
from mmbridge.weights import HUB_ID, locate


def load(source: str | Path, stage: str | None = None, device: str = "auto") -> Model:
    """Load what was trained: the newest checkpoint of `stage`, or of the last stage that has one.

    `source` is a run, one checkpoint of a run (`runs/x/checkpoints/STAGE/step-N`), an imported folder, or a checkpoint
    of another project (a file, a folder, a hub id that was fetched): that is imported into the user's cache, once.

    Raises:
        UserError: there is no such thing, no such stage or no checkpoint, or weights are not on this machine.
    """
    found = discover()
    _, recipe, trained = trained_in(source, found, stage)
    return Model(restored(recipe, found, trained, device))


def trained_in(
    source: str | Path, found: Discovered, stage: str | None = None
) -> tuple[RunDirectory, Recipe, Checkpoint]:
    """Give the run, its recipe and the checkpoint that `source` names, in each of the ways that `load` knows.

    Raises:
        UserError: there is no such thing, no such stage or no checkpoint.
    """
    trained = one_checkpoint(source, stage)
    directory, recipe = opened(source, found)
    return directory, recipe, trained or newest_of(directory, recipe.stage_names, stage)


def one_checkpoint(source: str | Path, stage: str | None = None) -> Checkpoint | None:
    """Read what is one checkpoint of a run; None if `source` is something else.

    Raises:
        UserError: it is not complete, or of another stage than is asked for.
    """
    if not (Path(source) / checkpoint.MANIFEST).exists():
        return None
    trained = checkpoint.read(Path(source))
    if stage not in (None, trained.stage):
        raise UserError(f"this is a checkpoint of stage '{trained.stage}', not of '{stage}'.", where=source)
    return trained


def opened(source: str | Path, found: Discovered) -> tuple[RunDirectory, Recipe]:
    """Read the recipe of a run, or of the run of a checkpoint; one of another project is imported for it.

    Raises:
        UserError: it is none of these.
    """
    directory = RunDirectory.around(Path(source))
    if not directory.resolved.exists():
        directory = RunDirectory(_imported(str(source), found))
    return directory, load_recipe(directory.resolved, [], found)


def _imported(source: str, found: Discovered) -> Path:
    """Import what is no run, if any format knows it."""
    do = "Give a folder that `mmbridge run` or `mmbridge import` made, or a checkpoint of a known format."
    if not Path(source).exists() and not HUB_ID.fullmatch(source):
        raise UserError("this is not a run directory: there is nothing here.", where=source, do=do)
    located = Path(locate(source, found.catalog))
    try:
        recognised(located, found)
    except UserError as error:
        raise UserError("this is not a run directory, nor a checkpoint that is known.", where=source, do=do) from error
    return cached(located, found)


def restored(recipe: Recipe, found: Discovered, trained: Checkpoint, device: str = "auto") -> BridgedModel:
    """Assemble a recipe's model with the tensors of a checkpoint in it, in eval mode."""
    model = assemble(recipe, found.catalog)
    hand_over(trained, model)
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
    return newest_of(directory, read_yaml(directory.resolved).get("stages") or [IMPORTED])


def _device(device: str) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)
