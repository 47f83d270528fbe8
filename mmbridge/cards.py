"""Evaluation cards: the protocol of a published number, and what a result says beside that number. Torch-free."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from mmbridge_registry import Options
from pydantic import Field, NonNegativeFloat, PositiveInt

Part = Literal["vision_encoder", "bridge", "language_model"]


class Card(Options):
    """A published number with all that it depends on."""

    name: str = ""
    """What it is called; by default as its file is."""
    card: PositiveInt
    """Its version: it grows whenever a number that is made by it may change."""
    task: str
    """What is measured, on which data, in which setting."""
    source: str
    """Where the expected values are published."""
    pixels: PositiveInt | None = None
    """Side of the images that the model reads; None fixes none."""
    evaluation: dict[str, Any]
    """The evaluation and its options: prompt, decoding, scoring."""
    data: dict[str, Any]
    """The data set and its options."""
    parts: tuple[Part, ...] = ("vision_encoder", "bridge", "language_model")
    """Parts of the model that the values depend on, by which a published model is recognised."""
    expected: dict[str, dict[str, float]] = Field(min_length=1)
    """The published values, as shares and raw scores: by the config whose model it is, then by metric."""
    tolerance: NonNegativeFloat
    """So far may a value of the same weights be off."""
    unverified: str | None = None
    """What of the protocol is not published, and was assumed."""


@dataclass(frozen=True)
class ByCard:
    """How an evaluation stands to its card."""

    card: Card
    deviations: tuple[str, ...]
    """What is another than the card says, one line each."""
    model: str | None = None
    """The published model that the recipe's is; None if it is none of them."""
    expected: Mapping[str, float] = field(default_factory=dict)
    """That model's values, by metric."""

    def beside(self, metrics: Iterable[str], pixels: int) -> dict[str, dict[str, Any]]:
        """Give what evaluation.json says beside each metric; `pixels` is the side of what the encoder reads."""
        metrics, card = list(metrics), self.card
        deviations = [*self.deviations]
        if card.pixels not in (None, pixels):
            deviations.append(f"pixels {pixels} instead of {card.pixels}")
        deviations += [f"no {metric}" for metric in self.expected if metric not in metrics]
        by = {"name": card.name, "version": card.card, "model": self.model, "deviations": deviations}
        by |= {"unverified": card.unverified} if card.unverified else {}
        of = {"tolerance": card.tolerance, "source": card.source, "model": self.model}
        values = {metric: {"value": self.expected[metric], **of} for metric in metrics if metric in self.expected}
        return {metric: {"card": by} | ({"expected": values[metric]} if metric in values else {}) for metric in metrics}
