"""The losses of BLIP-2: three that teach a text bridge to see, two that teach it to speak through a language model."""

from typing import TYPE_CHECKING, Literal

from mmbridge_registry import DECODER, ENCODER_DECODER, OBJECTIVE, TEXT_BRIDGE, Catalog, Options, hookimpl
from pydantic import Field, field_validator

if TYPE_CHECKING:
    from mmbridge_registry import Objective


class ContrastOptions(Options):
    """Image-text contrast (ITC)."""

    label_smoothing: float = Field(0.1, ge=0, lt=1)
    """Share of the target that is spread over the global batch."""
    gather: Literal["exact", "nograd"] = "exact"
    """Whether gradient flows through the gather over ranks: `exact` makes N ranks equal one; `nograd` is what the
    original does, which scores the same and trains each side from one direction only."""


class GenerationOptions(Options):
    """Image-grounded text generation (ITG) by the text bridge itself."""

    label_smoothing: float = Field(0.1, ge=0, lt=1)
    """Share of the target that is spread over the vocabulary."""


class MatchOptions(Options):
    """Image-text matching (ITM)."""

    negatives: Literal["hard", "uniform"] = "hard"
    """How the wrong partner is drawn from the global batch: by contrastive similarity, or all alike."""


class LanguageOptions(Options):
    """What the language model reads and writes."""

    question_prompt: str = "Question: {} Answer:"
    """What stands before an answer; {} is the question."""

    @field_validator("question_prompt")
    @classmethod
    def _has_one_place(cls, prompt: str) -> str:
        if prompt.count("{}") != 1:
            raise ValueError("must contain {} exactly once, where the question goes")
        return prompt


class CaptionOptions(LanguageOptions):
    """Language modelling with a decoder: the caption, or the answer to a question."""

    prompt: str = ""
    """What stands before a caption; it is read, not scored."""


class PrefixOptions(LanguageOptions):
    """Prefix language modelling with an encoder-decoder: it reads the caption's first words and writes the rest."""


@hookimpl
def offer_parts(catalog: Catalog) -> None:
    """Offer `itc`, `itg`, `itm`, `lm` and `prefix_lm`."""
    catalog.offer(OBJECTIVE, "itc", ContrastOptions, build_itc, requires=(TEXT_BRIDGE,))
    catalog.offer(OBJECTIVE, "itg", GenerationOptions, build_itg, requires=(TEXT_BRIDGE,))
    catalog.offer(OBJECTIVE, "itm", MatchOptions, build_itm, requires=(TEXT_BRIDGE,))
    catalog.offer(OBJECTIVE, "lm", CaptionOptions, build_lm, requires=(DECODER,))
    catalog.offer(OBJECTIVE, "prefix_lm", PrefixOptions, build_prefix_lm, requires=(ENCODER_DECODER,))


def build_itc(options: ContrastOptions) -> "Objective":
    """Build image-text contrast."""
    from mmbridge_objectives.itc import ImageTextContrast

    return ImageTextContrast(options)


def build_itg(options: GenerationOptions) -> "Objective":
    """Build image-grounded text generation."""
    from mmbridge_objectives.itg import ImageGroundedGeneration

    return ImageGroundedGeneration(options)


def build_itm(options: MatchOptions) -> "Objective":
    """Build image-text matching."""
    from mmbridge_objectives.itm import ImageTextMatching

    return ImageTextMatching(options)


def build_lm(options: CaptionOptions) -> "Objective":
    """Build language modelling for a decoder."""
    from mmbridge_objectives.lm import LanguageModelling

    return LanguageModelling(options)


def build_prefix_lm(options: PrefixOptions) -> "Objective":
    """Build prefix language modelling for an encoder-decoder."""
    from mmbridge_objectives.prefix_lm import PrefixLanguageModelling

    return PrefixLanguageModelling(options)
