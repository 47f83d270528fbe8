"""FlanT5 (arXiv 2210.11416), a frozen encoder-decoder that reads [soft prompt][prefix] and writes the rest."""

from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal, get_args

from mmbridge_registry import (
    ENCODER_DECODER,
    GENERATES,
    LANGUAGE_MODEL,
    RANDOM,
    Catalog,
    Dtype,
    Options,
    Weights,
    hookimpl,
)
from pydantic import Field, field_validator, model_validator

if TYPE_CHECKING:
    from mmbridge_flan_t5.language_model import FlanT5

Architecture = Literal["flan-t5-small", "flan-t5-base", "flan-t5-large", "flan-t5-xl", "flan-t5-xxl"]


class FlanT5Options(Options):
    """A T5 language model."""

    weights: Weights
    """A transformers folder with safetensors, or `random`."""
    architecture: Architecture | None = None
    """Geometry of `random` weights; by default the one that the weights' own name says (`google/flan-t5-xl`). A folder
    brings its geometry in config.json, which must then be this one."""
    tokenizer: Weights | None = None
    """Folder of the tokenizer; None looks beside the weights. `random` is a stand-in that turns bytes into ids, for dry
    runs and benchmarks; it is also what `random` weights have by default."""
    dtype: Dtype = "float32"
    """Storage and computation type; never float16."""
    activation: Literal["auto", "gelu", "config"] = "auto"
    """Feed-forward activation: `gelu` is the exact one (erf), `config` what config.json says (FlanT5's own is the tanh
    approximation). The published BLIP-2 bridges were trained with a FlanT5 forced to the exact one, so `auto` is `gelu`
    for the geometries of `architecture` and `config` for any other T5."""
    max_text_length: int = Field(32, ge=2)
    """Tokens of a training prefix and of a target, each with its `</s>`. Prompts at generation are never cut."""

    @field_validator("dtype")
    @classmethod
    def _no_float16(cls, dtype: Dtype) -> Dtype:
        if dtype == "float16":
            raise ValueError("T5 was trained in bfloat16 and overflows in float16 (inf, NaN): use bfloat16 or float32")
        return dtype

    @model_validator(mode="before")
    @classmethod
    def _geometry_by_name(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("architecture") is None:
            name = PurePath(str(values.get("weights"))).name.partition("@")[0]
            if name in get_args(Architecture):
                return {**values, "architecture": name}
        return values

    @model_validator(mode="after")
    def _random_needs_a_geometry(self) -> "FlanT5Options":
        if self.weights == RANDOM and self.architecture is None:
            raise ValueError("random weights bring no geometry: name an architecture, such as flan-t5-xl")
        return self


def build_flan_t5(options: FlanT5Options) -> "FlanT5":
    """Build the language model; reads local files only."""
    from mmbridge_flan_t5.language_model import FlanT5

    return FlanT5(options)


@hookimpl
def offer_parts(catalog: Catalog) -> None:
    """Offer FlanT5."""
    catalog.offer(LANGUAGE_MODEL, "flan_t5", FlanT5Options, build_flan_t5, provides=(ENCODER_DECODER, GENERATES))
