"""What an evaluation shows: items, searches and scores to look at, beside the numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

if TYPE_CHECKING:
    from PIL.Image import Image

Picked = Literal["best", "worst", "random"]
"""Why an item is shown."""


@dataclass(frozen=True)
class Example:
    """One item of an evaluation, to look at."""

    image: "bytes | Path | Image"
    truth: str
    output: str
    question: str | None = None
    correct: bool | None = None
    score: float | None = None
    """The item's own score, where it has one."""
    picked: Picked = "random"


@dataclass(frozen=True)
class Found:
    """A text, and the images found for it, best first."""

    text: str
    images: "Sequence[bytes | Path | Image]"
    scores: Sequence[float]
    right: Sequence[bool]
    """Which of the images are the text's own."""


@dataclass(frozen=True)
class Heatmap:
    """How well each of some images fits each of some texts; image i belongs to text i."""

    images: "Sequence[bytes | Path | Image]"
    texts: Sequence[str]
    scores: Sequence[Sequence[float]]
    """[image][text]."""
    meaning: str
    """What the scores are, in a few words."""


def pick(scores: Sequence[float], each: int = 4) -> list[tuple[int, Picked]]:
    """Choose items to show by their scores: `each` of the best, of the worst, and of all the others at random.

    Always the same ones of the same scores; no item twice, so that few items give fewer.
    """
    order: list[int] = torch.as_tensor(scores, dtype=torch.float64).argsort(descending=True, stable=True).tolist()
    best, rest = order[:each], order[each:]
    worst, others = rest[::-1][:each], sorted(rest[: max(0, len(rest) - each)])
    drawn = torch.randperm(len(others), generator=torch.Generator().manual_seed(0))[:each].tolist()
    chosen: dict[Picked, list[int]] = {"best": best, "random": [others[place] for place in drawn], "worst": worst}
    return [(row, why) for why, rows in chosen.items() for row in rows]
