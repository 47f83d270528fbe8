"""Export: what a run has learned, as another project's checkpoint."""

import shutil
from pathlib import Path

from mmbridge_registry import FORMAT, Exported, Format, UserError
from mmbridge_registry.discovery import Discovered

from mmbridge.loading import newest_of, opened, restored
from mmbridge.model_card import model_card


def export(run: Path, to: str, destination: Path, found: Discovered, stage: str | None = None) -> Exported:
    """Write what a stage (by default the last that has a checkpoint) has learned; it is there whole or not at all.

    Raises:
        UserError: the run has nothing to export, nobody knows the format, a part does not fit it, or `destination`
            exists.
    """
    offer = found.catalog.find(FORMAT, to, where="--to")
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise UserError("it exists already.", where=destination, do="Choose another name.")
    directory, recipe = opened(run, found)
    trained = newest_of(directory, recipe.stage_names, stage)
    model = restored(recipe, found, trained, device="cpu")
    known: Format = offer.build(offer.options())
    partial = destination.with_name(f"{destination.name}.tmp")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        exported = known.write(model, partial / destination.name, model_card(directory, recipe, trained))
        if destination.exists():
            destination.rmdir()
        for written in partial.iterdir():
            written.rename(destination.parent / written.name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return exported
