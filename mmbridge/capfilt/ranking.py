"""Ranking: the captions of one image, each once, best first."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mmbridge.data.text import clean_caption


@dataclass(frozen=True)
class Ranked:
    """The captions of one image, best first, with their scores."""

    captions: list[str]
    scores: list[float]
    web: list[str]
    """Those that came with the image."""

    def said(self, keep: int) -> dict[str, Any]:
        """Give what a shard says of the image: the best captions, and beside them all, so that `keep` can change."""
        return {
            "captions": self.captions[:keep],
            "scores": self.scores[:keep],
            "all_captions": self.captions,
            "all_scores": self.scores,
            "web_captions": self.web,
        }


def distinct(captions: Iterable[str]) -> list[str]:
    """Give captions that differ once they are cleaned, the first of each; those that cleaning leaves empty are none."""
    first: dict[str, str] = {}
    for caption in captions:
        first.setdefault(clean_caption(caption), " ".join(caption.split()))
    return [caption for cleaned, caption in first.items() if cleaned]


def rank(captions: Sequence[str], scores: Sequence[float], web: Sequence[str]) -> Ranked:
    """Sort the captions of an image by their scores; of equal ones the earlier comes first."""
    order = sorted(range(len(captions)), key=lambda place: -scores[place])
    ranked = [captions[place] for place in order]
    return Ranked(ranked, [round(float(scores[place]), 6) for place in order], distinct(web))
