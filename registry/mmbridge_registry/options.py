"""Options: what a part lets its user set, checked before torch is imported."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict


class Options(BaseModel):
    """Settings of a part: frozen, every key known, every field documented by the string below it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, arbitrary_types_allowed=False)


@dataclass(frozen=True)
class WeightsMark:
    """Marks a field that names weights, so that the framework can find them before anything is built."""


Weights = Annotated[str, WeightsMark()]
"""Where tensors or tokenizers come from: a name that a plugin ships (`tiny/vit`), a local folder or file, a hub id
(`google/flan-t5-xl`, `...@revision`), or `random` (real architecture, random tensors).

When a part is built, the framework has already replaced everything but `random` by a local path: builders never
look anything up and never download."""

RANDOM = "random"


@dataclass(frozen=True)
class AnnotationFileMark:
    """Marks a field that names an annotation file, so that `mmbridge fetch` can get it if it was published."""


AnnotationFile = Annotated[Path, AnnotationFileMark()]
"""An annotation file of a data set. If it is not there, and some plugin knows where a file of that name is published
(`Catalog.publish`), `mmbridge fetch` puts it there; nothing else ever does."""

Dtype = Literal["float32", "bfloat16", "float16"]
"""Storage type of a frozen tower."""


class Generation(Options):
    """How text is decoded; the same words for every language model and for the Q-Former's own captions."""

    beams: int = 1
    """Beams of the search; 1 is greedy (or sampling)."""
    max_new_tokens: int = 30
    """The answer's length limit in tokens; prompt and image never count."""
    min_new_tokens: int = 0
    """No end of text before so many new tokens."""
    length_penalty: float = 1.0
    """Exponent of the length in a beam's score; below 0 prefers short answers."""
    repetition_penalty: float = 1.0
    """Divides the scores of tokens that already stand there; 1 is off."""
    sample: bool = False
    """Draw tokens instead of taking the likeliest."""
    top_p: float = 0.9
    """Nucleus from which tokens are drawn; only with `sample`."""
    temperature: float = 1.0
    """Temperature of the draw; only with `sample`."""
