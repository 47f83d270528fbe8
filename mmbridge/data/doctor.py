"""The doctor of data: examines data sets before training does, and says whether training would get through."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mmbridge_registry import Dataset

from mmbridge.data.diagnosis import Diagnosis, Gathered
from mmbridge.data.examining import Limits
from mmbridge.data.limit import too_many
from mmbridge.data.opening import DataSet
from mmbridge.data.order import WINDOW, permute, shares
from mmbridge.data.processes import examine_all
from mmbridge.data.text import MAX_WORDS
from mmbridge.recipe import Recipe, Stage


@dataclass(frozen=True)
class Checkup:
    """How data sets are examined."""

    sample: int | None
    """Records of each data set, drawn by the seed; None takes all."""
    workers: int
    """Processes; 0 examines in this one."""
    seed: int
    limits: Limits
    keep: int | None = None
    """Cases of each defect that are named; None names all."""

    def diagnose(self, name: str, dataset: Dataset, advance: Callable[[], None] = lambda: None) -> Diagnosis:
        """Examine a data set; `advance` is called after each record.

        Raises:
            MmbridgeError: a process died.
        """
        gathered = Gathered(dataset, self.keep)
        for found in examine_all(dataset, self.choose(name, len(dataset)), self.limits, self.workers):
            gathered.add(found)
            advance()
        return gathered.diagnosis()

    def choose(self, name: str, records: int) -> Sequence[int]:
        """Choose the records to examine, in order: the same ones for the same seed."""
        if self.sample is None or self.sample >= records:
            return range(records)
        return sorted(permute(place, records, self.seed, "doctor", name) for place in range(self.sample))


@dataclass(frozen=True)
class Forecast:
    """Whether a stage, or an evaluation, gets through its data."""

    stops: bool
    spoilt: float
    """Share of what it reads that cannot be used."""
    reason: str
    """In words; empty if nothing is wrong."""


def limits_of(recipe: Recipe) -> Limits:
    """Read from a recipe's options what can be told without building the model."""
    tokens = getattr(recipe.model.bridge.options, "max_text_length", None) or MAX_WORDS
    return Limits(getattr(recipe.model.vision_encoder.options, "image_size", None), min(tokens, MAX_WORDS))


def forecast(recipe: Recipe, diagnoses: Sequence[tuple[DataSet, Diagnosis | None]]) -> dict[str, Forecast]:
    """Say for each stage and evaluation of a recipe whether its data stops it; None could not be opened."""
    of_data = {name: found for data_set, found in diagnoses for name in data_set.data}
    of_evaluations = {name: found for data_set, found in diagnoses for name in data_set.evaluations}
    stages = {f"stages.{name}": _of_stage(recipe, stage, of_data) for name, stage in recipe.stages.items()}
    return stages | {f"evaluate.{name}": _of_evaluation(found) for name, found in of_evaluations.items()}


def _of_stage(recipe: Recipe, stage: Stage, diagnoses: Mapping[str, Diagnosis | None]) -> Forecast:
    weights = stage.data or {name: data.weight for name, data in recipe.data.items()}
    limit = recipe.run.max_bad_fraction
    spoilt = different = 0.0
    for name, count in shares(weights).items():
        found = diagnoses[name]
        if found is None:
            return Forecast(True, 1.0, f"data.{name} cannot be opened")
        if found.spoilt == found.checked:
            return Forecast(True, 1.0, f"no record of data.{name} can be used")
        spoilt += count / WINDOW * found.spoilt / found.checked
        different += found.spoilt_names / found.checked * found.records
    # The run counts as it goes, and the share tells most when the last different one has just been met.
    met = min(different, spoilt * stage.steps * stage.batch_size)
    seen = met / spoilt if spoilt else 0
    reason = f"{spoilt:.2%} of its samples cannot be used (run.max_bad_fraction is {limit:.2%})" if spoilt else ""
    return Forecast(too_many(met, seen, limit), spoilt, reason)


def _of_evaluation(found: Diagnosis | None) -> Forecast:
    if found is None:
        return Forecast(True, 1.0, "its data cannot be opened")
    if not found.spoilt_images:
        return Forecast(False, 0.0, "")
    spoilt = found.spoilt_images / found.checked
    return Forecast(True, spoilt, f"{spoilt:.2%} of its images cannot be read, and it needs them all")
