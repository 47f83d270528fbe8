"""The embedded default's world: pictures of coloured shapes drawn at run time, small frozen towers, evaluations."""

from pathlib import Path
from typing import Literal

from mmbridge_registry import DATASET, EVALUATION, GENERATES, Catalog, Dataset, Generation, Options, hookimpl
from pydantic import Field, model_validator

WEIGHTS = Path(__file__).parent / "weights"
TOWERS = ("vit", "eva", "opt", "t5", "bert")
LARGEST_HELD_OUT = 1000


class TinyWorldOptions(Options):
    """Pictures of one or two coloured shapes with captions or questions, drawn when they are read."""

    split: Literal["train", "test", "unseen_pairs"] = "train"
    """`train`; `test`: scenes that never occur in train; `unseen_pairs`: scenes with a colour and a shape that never
    occur together in train. In both held-out splits every second scene differs from the one before in one attribute."""
    size: int | None = Field(default=None, ge=2)
    """Number of records; by default 40,000 of train and 256 of a held-out split."""
    seed: int = 0
    """Chooses the pictures; the same seed gives the same records anywhere."""
    ask: float = Field(default=0.0, ge=0, le=1)
    """Share of records that ask a question instead of giving captions; 1.0 is all of them."""

    @model_validator(mode="after")
    def _few_held_out(self) -> "TinyWorldOptions":
        if self.split != "train" and (self.size or 0) > LARGEST_HELD_OUT:
            raise ValueError(f"a held-out split has distinct scenes, at most {LARGEST_HELD_OUT} of them")
        return self


class CaptionsOptions(Options):
    """Captions of tiny-world pictures, read back into attributes."""

    prompt: str = "a picture of"
    """What each caption begins with; it is the language model's prompt."""
    generation: Generation = Generation(max_new_tokens=30)
    """How captions are decoded."""
    ceiling_of: Literal["tiny/opt", "tiny/t5"] | None = None
    """Shipped language tower whose measured text-only ceiling is printed beside the results."""


class AnswersOptions(Options):
    """Answers to questions about tiny-world pictures, compared word for word."""

    generation: Generation = Generation(max_new_tokens=5)
    """How answers are decoded."""
    ceiling_of: Literal["tiny/opt", "tiny/t5"] | None = None
    """Shipped language tower whose measured text-only ceiling is printed beside the results."""


def build_dataset(options: TinyWorldOptions) -> Dataset:
    """Build the dataset."""
    from .dataset import TinyWorld

    return TinyWorld(options)


def build_captions(options: CaptionsOptions):
    """Build the evaluation of captions."""
    from .evaluations import CaptionAttributes

    return CaptionAttributes(options)


def build_answers(options: AnswersOptions):
    """Build the evaluation of answers."""
    from .evaluations import AnswerAccuracy

    return AnswerAccuracy(options)


@hookimpl
def offer_parts(catalog: Catalog) -> None:
    """Offer the dataset, its two evaluations and the towers that ship with them."""
    catalog.offer(DATASET, "tiny_world", TinyWorldOptions, build_dataset)
    catalog.offer(EVALUATION, "tiny_world_captions", CaptionsOptions, build_captions)
    catalog.offer(EVALUATION, "tiny_world_answers", AnswersOptions, build_answers, requires=[GENERATES])
    for tower in TOWERS:
        catalog.ship(f"tiny/{tower}", WEIGHTS / tower)
