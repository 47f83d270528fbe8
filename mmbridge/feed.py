"""The feed: a stage's batches, in the order that the recipe fixes."""

from collections.abc import Iterator
from dataclasses import dataclass

from mmbridge_registry import Batch, Catalog, MmbridgeError, Objective, TextBridge, UserError

from mmbridge.building import build
from mmbridge.collectives import Collectives
from mmbridge.data.loader import StepBatches, load
from mmbridge.data.order import Mixture
from mmbridge.data.quarantine import Quarantine
from mmbridge.features.checking import open_cached
from mmbridge.model import BridgedModel
from mmbridge.recipe import Recipe, Stage


@dataclass(frozen=True)
class Feed:
    """One stage's batches for this rank."""

    batches: StepBatches
    workers: int
    quarantine: Quarantine

    def steps(self, first: int, last: int) -> Iterator[Batch]:
        """Give the batches of steps `first` (from 0) to `last` (exclusive); report what could not be read.

        Raises:
            MmbridgeError: this rank or another cannot go on; the same on all of them.
        """
        loaded = load(self.batches, first, last, self.workers)
        for _ in range(first, last):
            try:
                batch, bad = next(loaded)
            except MmbridgeError as error:
                self.quarantine.report([], seen=0, failure=error)
                raise
            self.quarantine.report(bad, seen=len(batch))
            yield batch


def open_mixture(recipe: Recipe, stage: Stage, catalog: Catalog) -> Mixture:
    """Open the data sets of a stage, weighted as the stage says or else as each data set does."""
    weights = stage.data or {name: data.weight for name, data in recipe.data.items()}
    datasets = {name: build(recipe.data[name].dataset, catalog) for name in weights}
    return Mixture(datasets, weights, recipe.run.seed)


def check_division(name: str, stage: Stage, world_size: int) -> None:
    """Check that a global batch divides into equal shares and micro-batches.

    Raises:
        UserError: it does not; the message has the numbers.
    """
    rows, rest = divmod(stage.batch_size, world_size)
    if rest:
        raise UserError(
            f"batch_size {stage.batch_size} does not divide over {world_size} ranks.", where=f"stages.{name}.batch_size"
        )
    if stage.micro_batch_size and rows % stage.micro_batch_size:
        raise UserError(
            f"{rows} rows per rank do not divide into micro-batches of {stage.micro_batch_size}.",
            where=f"stages.{name}.micro_batch_size",
        )


def feed(
    mixture: Mixture,
    model: BridgedModel,
    objectives: dict[str, Objective],
    stage: Stage,
    recipe: Recipe,
    collectives: Collectives,
    quarantine: Quarantine,
) -> Feed:
    """Join a mixture with what turns its records into this stage's batches."""
    batches = StepBatches(
        mixture=mixture,
        transform=model.vision_encoder.transform(train=True),
        objectives=objectives,
        bridge_tokenizer=model.bridge.tokenizer if isinstance(model.bridge, TextBridge) else None,
        language_tokenizer=model.language_model.tokenizer if model.language_model is not None else None,
        batch_size=stage.batch_size,
        rank=collectives.rank,
        world_size=collectives.world_size,
        cached=open_cached(recipe, mixture.datasets),
    )
    return Feed(batches, recipe.run.workers, quarantine)
