"""The gallery: example images inside the page, with what was said of them."""

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image

from mmbridge.run_directory import RunDirectory

LARGEST = 256
"""Longest side in pixels of an image in the page."""
TINY = 128
"""Images up to this side are shown enlarged, pixel by pixel."""


@dataclass(frozen=True)
class Shown:
    """An example as the page shows it."""

    source: str
    """A data URI."""
    pixelated: bool
    question: str | None
    truth: str
    output: str
    correct: bool | None


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


def galleries(directory: RunDirectory, keys: Iterable[str]) -> list[Gallery]:
    """Open the samples of every evaluation that `keys` (`<stage>/<evaluation>/<metric>`) name, latest stage first."""
    pairs = list(dict.fromkeys(tuple(key.split("/", 2)[:2]) for key in keys))
    opened = [Gallery(stage, name, _examples(directory.samples(stage, name))) for stage, name in reversed(pairs)]
    return [gallery for gallery in opened if gallery.shown]


def _examples(folder: Path) -> list[Shown]:
    listing = folder / "examples.json"
    if not listing.exists():
        return []
    return [
        Shown(
            *_embedded(folder / Path(item["image"]).name),
            item["question"],
            item["truth"],
            item["output"],
            item["correct"],
        )
        for item in json.loads(listing.read_text())
    ]


def _embedded(path: Path) -> tuple[str, bool]:
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    image.thumbnail((LARGEST, LARGEST))
    file = BytesIO()
    image.save(file, "PNG", optimize=True)
    encoded = base64.b64encode(file.getvalue()).decode()
    return f"data:image/png;base64,{encoded}", max(image.size) <= TINY
