"""Export: what a run has learned, as another project's checkpoint."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from mmbridge_registry import FORMAT, Exported, Format, UserError
from mmbridge_registry.discovery import Discovered

from mmbridge.loading import restored, trained_in
from mmbridge.model import BridgedModel
from mmbridge.model_card import model_card
from mmbridge.recipe import Recipe
from mmbridge.run_directory import RunDirectory
from mmbridge.settings import Quantize
from mmbridge.weights import weights_of


def export(source: Path, to: str, destination: Path, found: Discovered, stage: str | None = None) -> Exported:
    """Write what a stage (by default the last that has a checkpoint) has learned; it is there whole or not at all.

    `source` is what `mmbridge.load` takes: a run, one checkpoint of it, or a checkpoint of another project.

    Raises:
        UserError: the run has nothing to export, nobody knows the format, a part does not fit it, or `destination`
            exists.
    """
    offer = found.catalog.find(FORMAT, to, where="--to")
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise UserError("it exists already.", where=destination, do="Choose another name.")
    directory, recipe, trained = trained_in(source, found, stage)
    model = restored(_plain(recipe), found, trained, device="cpu")
    _take_along_own_encoder(model, recipe, directory)
    known: Format = offer.build(offer.options())
    destination.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{destination.name}.", dir=destination.parent) as scratch:
        partial = Path(scratch)
        exported = known.write(model, partial / destination.name, model_card(directory, recipe, trained, found.catalog))
        if destination.exists():
            destination.rmdir()
        targets = {written: destination.parent / written.name for written in partial.iterdir()}
        if taken := next((target for target in targets.values() if target.exists()), None):
            raise UserError("it exists already.", where=taken, do="Choose another name.")
        for written, target in targets.items():
            written.rename(target)
    return exported


def _plain(recipe: Recipe) -> Recipe:
    """Leave towers as their weights are: no other project reads what `model.quantize` makes of them."""
    return replace(recipe, model=recipe.model.model_copy(update={"quantize": Quantize()}))


def _take_along_own_encoder(model: BridgedModel, recipe: Recipe, directory: RunDirectory) -> None:
    """Count an encoder that came with an imported checkpoint as trained: nobody else may have it."""
    weights = (named.value for named in weights_of(recipe.model.vision_encoder))
    if any(Path(value).is_relative_to(directory.path.absolute()) for value in weights):
        model.learned.update(name for name in model.tensors() if name.startswith("vision_encoder."))
