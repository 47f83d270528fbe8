"""What was found, to look at and to keep."""

from collections.abc import Sequence
from typing import Any

from mmbridge_registry import Example, Found, Heatmap
from mmbridge_registry.examples import pick
from torch import Tensor

from mmbridge_retrieval.gallery import Gallery
from mmbridge_retrieval.ranking import first, ranks

KEPT = 10
"""Columns of each row that predictions name."""
SEARCHED = 3
"""Texts of each sort (best, worst, others) whose images are shown."""
HITS = 5
"""Images shown of each."""


def examples(gallery: Gallery, to_text: Tensor, truth: Tensor) -> list[Example]:
    """Images for which the truth stands highest, some others, and those where it stands lowest; each with the text
    that was found. The score is one over the place of the truth."""
    scores, best = (1 / (1 + ranks(to_text, truth).double())).tolist(), to_text.argmax(1).tolist()
    return [
        Example(
            gallery.images[row],
            gallery.texts[gallery.owner.index(row)],
            gallery.texts[best[row]],
            correct=scores[row] == 1,
            score=scores[row],
            picked=picked,
        )
        for row, picked in pick(scores)
    ]


def searches(gallery: Gallery, to_image: Tensor, truth: Tensor) -> list[Found]:
    """Texts for which the truth stands highest, some others, and those where it stands lowest, with their images."""
    rows = [row for row, _ in pick((-ranks(to_image.T, truth.T)).tolist(), SEARCHED)]
    return [
        Found(
            gallery.texts[row],
            [gallery.images[place] for place, _ in hits],
            [score for _, score in hits],
            [place == gallery.owner[row] for place, _ in hits],
        )
        for row, hits in zip(rows, first(to_image.T[rows], HITS), strict=True)
    ]


def heatmap(gallery: Gallery, rows: Sequence[int], columns: Sequence[int], scores: Tensor, meaning: str) -> Heatmap:
    """How well some images fit the first texts of each, from scores [image,text] of these alone."""
    images, texts = [gallery.images[row] for row in rows], [gallery.texts[column] for column in columns]
    return Heatmap(images, texts, scores.tolist(), meaning)


def predictions(gallery: Gallery, to_text: Tensor, to_image: Tensor, truth: Tensor) -> list[dict[str, Any]]:
    """A line per image, then one per text: what was found and its scores, best first, at most ten.

    Texts are called by their places among all texts. `rank` is the place of the first true one, from 1; None where
    none of them was a candidate.
    """
    names, texts = gallery.names, range(len(gallery.texts))
    owned: list[list[int]] = [[] for _ in names]
    for text, image in enumerate(gallery.owner):
        owned[image].append(text)
    lines: list[dict[str, Any]] = [
        {"image_id": name, "truth": true} | ranked
        for name, true, ranked in zip(names, owned, _ranked(to_text, truth, texts), strict=True)
    ]
    for text, ranked in zip(texts, _ranked(to_image.T, truth.T, names), strict=True):
        lines.append({"text_id": text, "text": gallery.texts[text], "truth": [names[gallery.owner[text]]]} | ranked)
    return lines


def _ranked(scores: Tensor, truth: Tensor, names: Sequence[int | str]) -> list[dict[str, Any]]:
    places = (1 + ranks(scores, truth)).tolist()
    return [
        {
            "rank": place if place <= len(names) else None,
            "found": [names[column] for column, _ in best],
            "scores": [score for _, score in best],
        }
        for place, best in zip(places, first(scores, KEPT), strict=True)
    ]
