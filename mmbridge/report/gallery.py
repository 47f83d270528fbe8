"""The gallery: example images, with what was said of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmbridge.report.pictures import Picture, embedded
from mmbridge.report.reading import RunRecord

LARGEST = 256
"""Longest side in pixels of an example's image in the page."""
SHELVES = {"best": "best by score", "worst": "worst by score", "random": "drawn at random", None: ""}


@dataclass(frozen=True)
class Shown:
    """An example as the page shows it."""

    picture: Picture
    question: str | None
    truth: str
    output: str
    correct: bool | None
    score: float | None
    picked: str | None


@dataclass(frozen=True)
class Gallery:
    """The examples of one evaluation after one stage."""

    stage: str
    evaluation: str
    shown: list[Shown]

    @property
    def judged(self) -> int:
        """Examples that are right or wrong."""
        return sum(example.correct is not None for example in self.shown)

    @property
    def right(self) -> int:
        """Examples that are right."""
        return sum(example.correct is True for example in self.shown)

    @property
    def shelves(self) -> list[tuple[str, list[Shown]]]:
        """The examples by why they are shown: best, worst, random; in one piece if nobody chose."""
        sorts = dict.fromkeys((*SHELVES, *(example.picked for example in self.shown)))
        found = [(SHELVES.get(sort, str(sort)), [one for one in self.shown if one.picked == sort]) for sort in sorts]
        return [(title, shown) for title, shown in found if shown]


def galleries(record: RunRecord) -> list[Gallery]:
    """Open the examples of every evaluation, those of the latest stage first."""
    opened = [
        Gallery(stage, evaluation, [shown for item in items if (shown := _shown(folder, item))])
        for stage, evaluation, folder, items in record.samples("examples.json")
    ]
    return [gallery for gallery in opened if gallery.shown]


def _shown(folder: Path, item: dict[str, Any]) -> Shown | None:
    picture = embedded(folder / Path(item["image"]).name, LARGEST)
    if picture is None:
        return None
    question, correct, score, picked = (item.get(key) for key in ("question", "correct", "score", "picked"))
    return Shown(picture, question, item["truth"], item["output"], correct, score, picked)
