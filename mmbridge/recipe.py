"""The recipe: what a YAML file says, validated and with every part found in the catalog. Torch-free."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mmbridge_registry import Offer, Options
from pydantic import Field, PositiveFloat, PositiveInt

IMPORTED = "imported"
"""The stage, so to speak, of a recipe that has none: weights that another project has trained."""

Trainable = Literal["vision_encoder", "bridge", "projection", "language_model"]


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


class Projection(Options):
    """The linear layer between bridge and language model."""

    init: Literal["linear", "token_scale"] = "linear"
    """`linear` is torch's own start, as the original has it; `token_scale` scales it so that soft prompts begin as
    large as the language model's token embeddings (small towers need that)."""


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

    def parts(self) -> dict[str, Chosen]:
        """Give the parts that plugins build, by key."""
        return {key: part for key, part in self if isinstance(part, Chosen)}


class Optimizer(Options):
    """AdamW; no decay for norms, biases and 0-d or 1-d tensors."""

    name: Literal["adamw"] = "adamw"
    """The optimiser."""
    lr: PositiveFloat = 1e-4
    """Peak learning rate."""
    betas: tuple[float, float] = (0.9, 0.98)
    """Decay of the first and second moment (the paper's 0.98; torch's own default is 0.999)."""
    eps: PositiveFloat = 1e-8
    """Added to the root of the second moment."""
    weight_decay: float = Field(default=0.05, ge=0)
    """Decoupled weight decay."""


class Schedule(Options):
    """Linear warm-up, then cosine, both by step."""

    name: Literal["cosine"] = "cosine"
    """The curve after the warm-up."""
    warmup_steps: int = Field(default=0, ge=0)
    """Steps from `warmup_lr` to the peak."""
    warmup_lr: float = Field(default=1e-6, ge=0)
    """Learning rate before the first step."""
    min_lr: float = Field(default=0.0, ge=0)
    """Learning rate after the last step."""


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


@dataclass(frozen=True)
class Evaluate:
    """An evaluation, the data it reads, the stages after which it is made."""

    evaluation: Chosen
    dataset: Chosen
    stages: tuple[str, ...]
    every: int | None = None
    """Also every so many steps inside the stage; None only at its end."""


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
    threads: PositiveInt | None = None
    """Torch threads per rank on CPU; None leaves torch's own choice."""
    checkpoint_every: PositiveInt = 1000
    """Steps between checkpoints; a stage's last step always has one."""
    keep_checkpoints: PositiveInt = 2
    """Newest checkpoints kept per stage."""
    log_every: PositiveInt = 10
    """Steps between lines of metrics.jsonl."""
    max_bad_fraction: float = Field(default=0.01, ge=0, le=1)
    """Share of unreadable samples at which the run stops."""


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
