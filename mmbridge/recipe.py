"""The recipe: what a YAML file says, validated and with every part found in the catalog. Torch-free."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from mmbridge_registry import Offer, Options
from pydantic import Field, PositiveFloat, PositiveInt

from mmbridge.cards import ByCard
from mmbridge.settings import Optimizer, Projection, Quantize, Schedule

IMPORTED = "imported"
"""The stage, so to speak, of a recipe that has none: weights that another project has trained."""

Trainable = Literal["vision_encoder", "bridge", "projection", "language_model"]
Placement = Literal["auto", "replicate", "shard"]


@dataclass(frozen=True)
class Chosen:
    """A part that the recipe names: the offer that was found and the options for it."""

    offer: Offer
    options: Options
    where: str
    """File, line and key, for messages."""
    places: Mapping[str, str] = field(default_factory=dict, compare=False)
    """File, line and key of each option that somebody wrote."""

    def where_of(self, option: str) -> str:
        """Give file, line and key of one option."""
        return self.places.get(option, f"{self.where}.{option}")

    def build(self, **context: Any) -> Any:
        """Build the part; `context` is what its kind's builder takes besides the options."""
        return self.offer.build(self.options, **context)


class ModelRecipe(Options):
    """The parts of the model."""

    model_config = {**Options.model_config, "arbitrary_types_allowed": True}

    vision_encoder: Chosen
    """Pixels to features."""
    bridge: Chosen
    """Features to queries."""
    language_model: Chosen | None = None
    """Soft prompts to text; a model without one has stage-1 objectives only."""
    projection: Projection = Projection()
    """Queries to soft prompts."""
    quantize: Quantize = Quantize()
    """Frozen towers that are stored smaller than their weights are."""

    def parts(self) -> dict[str, Chosen]:
        """Give the parts that plugins build, by key."""
        return {key: part for key, part in self if isinstance(part, Chosen)}


class StageSettings(Options):
    """What a stage says of itself, apart from the parts that it names."""

    train: tuple[Trainable, ...]
    """Parts that are trained; everything else is frozen."""
    steps: PositiveInt
    """Optimizer steps."""
    batch_size: PositiveInt
    """Rows of a global batch; divided over ranks and micro-batches."""
    micro_batch_size: PositiveInt | None = None
    """Rows that one rank computes at once; None computes its share whole."""
    optimizer: Optimizer = Optimizer()
    """The optimiser."""
    schedule: Schedule = Schedule()
    """The learning rate over the steps."""
    clip_grad_norm: PositiveFloat | None = None
    """Largest norm of the whole gradient; None does not clip."""
    skip_spikes: PositiveFloat | None = None
    """Leave a step out if its loss or its gradient's norm lies so many standard deviations above the mean of the last
    128 steps (6 is usual); None never does."""
    data: dict[str, PositiveFloat] | None = None
    """Mixture weights by data name; None takes every data set by its own `weight`."""
    start: str | None = None
    """A run or checkpoint to start from; None starts from the stage before."""


class Stage(StageSettings):
    """One stage: what is trained, on what, for how long."""

    model_config = {**Options.model_config, "arbitrary_types_allowed": True}

    objectives: dict[str, Chosen]
    """Terms of the loss, by name; they are added."""


class DataSettings(Options):
    """What an entry of `data:` says beside the dataset's own options."""

    weight: PositiveFloat = 1.0
    """Share in the mixture, relative to the other data sets."""


@dataclass(frozen=True)
class Data:
    """A data set of the mixture."""

    dataset: Chosen
    weight: float


class EvaluateSettings(Options):
    """What an entry of `evaluate:` says beside the evaluation's own options."""

    stages: tuple[str, ...]
    """Stages after which it is made."""
    every: PositiveInt | None = None
    """Also every so many steps inside the stage; None only at its end."""
    shuffled: bool = False
    """Make it a second time with every image exchanged for another: a model that looks at images does worse then."""


@dataclass(frozen=True)
class Evaluate:
    """An evaluation, the data it reads, the stages after which it is made."""

    evaluation: Chosen
    dataset: Chosen
    stages: tuple[str, ...]
    every: int | None = None
    """Also every so many steps inside the stage; None only at its end."""
    shuffled: bool = False
    """Make it a second time with every image exchanged for another."""
    card: ByCard | None = None
    """The card that fixes its protocol, if it names one."""


class Run(Options):
    """How a run is carried out; nothing here changes what is learned except `seed` and `precision`."""

    name: str = Field(default="", pattern=r"^([A-Za-z0-9_-][A-Za-z0-9_.-]*)?$")
    """Name of the run's directory; the config's file name by default."""
    directory: Path = Path("runs")
    """Where runs live."""
    seed: int = 0
    """Every random number is a function of this."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes GPUs if there are any."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Autocast dtype of what is trained (masters stay float32); auto is bfloat16 on GPU, float32 on CPU."""
    workers: int = Field(default=2, ge=0)
    """Loader processes per rank; changes nothing but speed."""
    placement: Placement = "auto"
    """Where frozen towers lie on several ranks: whole on each (`replicate`), or cut up over them (`shard`), which holds
    less and waits more. `auto` shards what would take more than half of a GPU's memory."""
    checkpoint_activations: bool = False
    """Compute the insides of blocks again in the backward pass instead of keeping them: less memory, more time."""
    threads: PositiveInt | None = None
    """Torch threads per rank on CPU; None leaves torch's own choice."""
    checkpoint_every: PositiveInt = 1000
    """Steps between checkpoints; a stage's last step always has one."""
    keep_checkpoints: PositiveInt = 2
    """Newest checkpoints kept per stage."""
    keep_best: str | None = None
    """Also keep each stage's best checkpoint by this number of evaluation.json, named without the stage
    (`retrieval/text_to_image_r1`): the highest, or the lowest of a perplexity."""
    log_every: PositiveInt = 10
    """Steps between lines of metrics.jsonl."""
    max_bad_fraction: float = Field(default=0.01, ge=0, le=1)
    """Share of unreadable samples at which the run stops."""
    rank_timeout: PositiveFloat = 600
    """Seconds after which ranks that wait for another one take it for dead and end."""
    late_after: PositiveFloat = 60
    """Seconds without a step after which the late rank is named."""
    check_gradients: bool = False
    """For debugging: check in every step that all ranks have the same gradients."""


class Features(Options):
    """Features of the frozen encoder, written beforehand by `mmbridge data features`; a run reads them instead."""

    folder: Path
    """Where they lie, a folder in it per data set."""
    views: PositiveInt = 1
    """Training views kept of each image, one of which is drawn per epoch; an encoder that crops and flips at random
    shows as many different ones."""


class Declared(Protocol):
    """What a config declares, be it a run or something else: parts."""

    def parts(self) -> Iterable[Chosen]:
        """Give every part that it names."""
        ...


@dataclass(frozen=True)
class Recipe:
    """A whole run as its YAML declares it."""

    source: Path
    model: ModelRecipe
    stages: dict[str, Stage]
    data: dict[str, Data]
    evaluate: dict[str, Evaluate]
    run: Run
    resolved: dict[str, Any]
    """The merged YAML as plain values: what `show` prints and `config.resolved.yaml` holds."""
    features: Features | None = None
    """Features that stages read in place of the encoder's."""
    trackers: dict[str, Chosen] = field(default_factory=dict)
    """Where the run's curves are also drawn."""

    def shardable(self) -> list[str]:
        """Name the towers that may be cut up over ranks: no stage trains them, and their weights are plain numbers."""
        trained = {part for stage in self.stages.values() for part in stage.train}
        towers = [key for key in ("vision_encoder", "language_model") if getattr(self.model, key) is not None]
        return [key for key in towers if key not in trained and getattr(self.model.quantize, key) is None]

    @property
    def stage_names(self) -> list[str]:
        """Names under which the run has checkpoints, in order."""
        return list(self.stages) or [IMPORTED]

    def parts(self) -> Iterator[Chosen]:
        """Give every part that the recipe names, in the order in which a run needs them."""
        yield from self.model.parts().values()
        for stage in self.stages.values():
            yield from stage.objectives.values()
        yield from (data.dataset for data in self.data.values())
        for evaluate in self.evaluate.values():
            yield from (evaluate.evaluation, evaluate.dataset)
        yield from self.trackers.values()
