"""Searches: texts with the images that were found for them, and how well images fit texts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmbridge.figures import number
from mmbridge.report.pictures import Picture, embedded
from mmbridge.report.reading import RunRecord

LARGEST = 144
"""Longest side in pixels of an image found."""
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
MOST = len(LETTERS)
"""Images and texts that a heat map shows at most."""


@dataclass(frozen=True)
class Hit:
    """An image that was found."""

    picture: Picture
    score: float
    right: bool


@dataclass(frozen=True)
class Search:
    """A text and the images found for it, best first."""

    text: str
    hits: list[Hit]

    @property
    def place(self) -> int | None:
        """The place of the first right image, counted from 1; None if none of them is."""
        return next((place for place, hit in enumerate(self.hits, 1) if hit.right), None)


@dataclass(frozen=True)
class Cell:
    """One pair of a heat map."""

    score: float
    heat: float
    """Percent of the way along the map's scale."""
    best: bool
    """The highest of its row."""

    @property
    def shown(self) -> str:
        """The score, short enough for a narrow column."""
        return f"{self.score:.2f}" if abs(self.score) < 10 else number(self.score, 2)


@dataclass(frozen=True)
class HeatMap:
    """How well images fit texts; image i belongs to text i."""

    meaning: str
    scale: tuple[float, float]
    """From 0 to 1 if no score lies outside, as of probabilities; else from the lowest score to the highest."""
    texts: list[tuple[str, str]]
    """Letters and texts."""
    rows: list[tuple[Picture, list[Cell]]]


@dataclass(frozen=True)
class Retrieval:
    """What a retrieval evaluation has to show."""

    stage: str
    evaluation: str
    searches: list[Search]
    heat: HeatMap | None


def retrievals(record: RunRecord) -> list[Retrieval]:
    """Open the searches and the heat map of every evaluation that has some."""
    found = {one[:2]: one[2:] for one in record.samples("found.json")}
    maps = {one[:2]: one[2:] for one in record.samples("heatmap.json")}
    return [
        Retrieval(
            *pair,
            searches=_searches(*found[pair]) if pair in found else [],
            heat=_heat(*maps[pair]) if pair in maps else None,
        )
        for pair in dict.fromkeys((*found, *maps))
    ]


def _searches(folder: Path, entries: list[dict[str, Any]]) -> list[Search]:
    return [
        Search(
            entry["text"],
            [
                Hit(picture, score, right)
                for name, score, right in zip(entry["images"], entry["scores"], entry["right"], strict=True)
                if (picture := embedded(folder / Path(name).name, LARGEST))
            ],
        )
        for entry in entries
    ]


def _heat(folder: Path, entry: dict[str, Any]) -> HeatMap | None:
    scores = [row[:MOST] for row in entry["scores"][:MOST]]
    if not any(scores):
        return None
    low, high = min(0.0, *map(min, scores)), max(1.0, *map(max, scores))
    if (low, high) != (0, 1):
        low, high = min(map(min, scores)), max(map(max, scores))
    rows = [
        (
            picture,
            [Cell(score, round(100 * (score - low) / ((high - low) or 1.0), 1), score == max(row)) for score in row],
        )
        for name, row in zip(entry["images"], scores, strict=False)
        if (picture := embedded(folder / Path(name).name, LARGEST))
    ]
    return (
        HeatMap(entry["meaning"], (low, high), list(zip(LETTERS, entry["texts"], strict=False)), rows) if rows else None
    )
