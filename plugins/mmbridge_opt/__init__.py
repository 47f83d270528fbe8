"""OPT (arXiv 2205.01068), a frozen decoder that continues [soft prompt][text]."""

from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal, get_args

from mmbridge_registry import (
    DECODER,
    GENERATES,
    LANGUAGE_MODEL,
    RANDOM,
    Catalog,
    Dtype,
    Options,
    Weights,
    hookimpl,
)
from pydantic import Field, model_validator

if TYPE_CHECKING:
    from mmbridge_opt.language_model import Opt

Architecture = Literal["opt-125m", "opt-350m", "opt-1.3b", "opt-2.7b", "opt-6.7b", "opt-13b", "opt-30b"]


class OptOptions(Options):
    """An OPT language model."""

    weights: Weights
    """A transformers folder with safetensors, or `random`."""
    architecture: Architecture | None = None
    """Geometry of `random` weights; by default the one that the weights' own name says (`facebook/opt-2.7b`). A folder
    brings its geometry in config.json, which must then be this one."""
    tokenizer: Weights | None = None
    """Folder of the tokenizer; None looks beside the weights. `random` is a stand-in that turns bytes into ids, for dry
    runs and benchmarks; it is also what `random` weights have by default."""
    dtype: Dtype = "float32"
    """Storage and computation type."""
    max_text_length: int = Field(32, ge=2)
    """Tokens of a training text: `</s>`, prompt, target and newline. Prompts at generation are never cut."""
    keep_newline: bool = False
    """End a text that was cut with a newline all the same. False leaves it unfinished, as the published bridges were
    trained: a model should not learn to stop in mid-sentence."""

    @model_validator(mode="before")
    @classmethod
    def _geometry_by_name(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("architecture") is None:
            name = PurePath(str(values.get("weights"))).name.partition("@")[0]
            if name in get_args(Architecture):
                return {**values, "architecture": name}
        return values

    @model_validator(mode="after")
    def _random_needs_a_geometry(self) -> "OptOptions":
        if self.weights == RANDOM and self.architecture is None:
            raise ValueError("random weights bring no geometry: name an architecture, such as opt-2.7b")
        return self


def build_opt(options: OptOptions) -> "Opt":
    """Build the language model; reads local files only."""
    from mmbridge_opt.language_model import Opt

    return Opt(options)


@hookimpl
def offer_parts(catalog: Catalog) -> None:
    """Offer OPT."""
    catalog.offer(LANGUAGE_MODEL, "opt", OptOptions, build_opt, provides=(DECODER, GENERATES))
