"""Opening every data set of a recipe, each once: annotations become tables, tars are indexed, mistakes are found."""

from dataclasses import dataclass
from time import perf_counter

from mmbridge_registry import Catalog, Dataset, MmbridgeError, UserError

from mmbridge.building import build
from mmbridge.recipe import Chosen, Recipe


@dataclass(frozen=True)
class DataSet:
    """A data set of a recipe, by all the names under which it stands there."""

    data: tuple[str, ...]
    """Names in the mixture."""
    evaluations: tuple[str, ...]
    """Evaluations that read it."""
    chosen: Chosen

    @property
    def name(self) -> str:
        """Where it stands in the recipe."""
        return ", ".join([*(f"data.{name}" for name in self.data), *(f"evaluate.{name}" for name in self.evaluations)])


@dataclass(frozen=True)
class Opened:
    """A data set that was opened, or why it could not be."""

    data_set: DataSet
    dataset: Dataset | None
    failure: str | None
    seconds: float


def data_sets(recipe: Recipe) -> list[DataSet]:
    """Name the data sets of a recipe, those of evaluations too; the same part with the same options is one.

    Raises:
        UserError: there are none.
    """
    found: dict[tuple[str, str], DataSet] = {}
    named = [(data.dataset, (name,), ()) for name, data in recipe.data.items()]
    named += [(one.dataset, (), (name,)) for name, one in recipe.evaluate.items()]
    for chosen, data, evaluations in named:
        key = (chosen.offer.name, chosen.options.model_dump_json())
        before = found.get(key, DataSet((), (), chosen))
        found[key] = DataSet(before.data + data, before.evaluations + evaluations, before.chosen)
    if not found:
        raise UserError("this config has no data sets.", where=recipe.source, do="Name some under `data`.")
    return list(found.values())


def open_one(data_set: DataSet, catalog: Catalog) -> Opened:
    """Open a data set; a mistake in it is given, not raised, so that the others can be opened too."""
    before = perf_counter()
    try:
        dataset, failure = build(data_set.chosen, catalog), None
    except MmbridgeError as error:
        dataset, failure = None, str(error)
    return Opened(data_set, dataset, failure, perf_counter() - before)
