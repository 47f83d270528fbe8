"""Exhibits: what an evaluation shows beside its numbers, as files in a run's `samples/`."""

import json
import shutil
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from mmbridge_registry import Evaluated, Example, Found, Heatmap

from mmbridge.data.images import AnyImage, open_image
from mmbridge.disk import publish

SHOWN_SIDE = 384
"""Longest side in pixels of an image in `samples/`."""


def write_exhibits(evaluated: Evaluated, folder: Path) -> None:
    """Replace a folder: PNGs, and what was said of them in `examples.json`, `found.json` and `heatmap.json`.

    The last two are there only if the evaluation shows such things. Keys are those of `Example`, `Found`, `Heatmap`.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    stored = Stored(folder)
    examples = [
        _said(example, image=stored.name(example.image, f"{number:03d}"))
        for number, example in enumerate(evaluated.examples)
    ]
    (folder / "examples.json").write_text(json.dumps(examples, indent=1))
    if evaluated.found:
        found = [
            _said(one, images=stored.names(one.images, f"found-{number:02d}"))
            for number, one in enumerate(evaluated.found)
        ]
        (folder / "found.json").write_text(json.dumps(found, indent=1))
    if evaluated.heatmap is not None:
        heatmap = _said(evaluated.heatmap, images=stored.names(evaluated.heatmap.images, "heatmap"))
        (folder / "heatmap.json").write_text(json.dumps(heatmap, indent=1))


def write_predictions(evaluated: Evaluated, path: Path) -> None:
    """Write what was predicted as JSON lines, an item each, whole or not at all; of nothing no file."""
    path.unlink(missing_ok=True)
    lines = "".join(json.dumps(one) + "\n" for one in evaluated.predictions)
    if lines:
        publish(path, 0, lambda partial: partial.write_text(lines))


class Stored:
    """PNGs in a folder. An image that is shown more than once is there once, under its first name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.known: dict[tuple[tuple[int, int], bytes], str] = {}

    def name(self, image: AnyImage, wanted: str) -> str:
        """Store an image unless it is there, and give its file's name: `wanted`.png if it is new."""
        picture = open_image(image)
        picture.thumbnail((SHOWN_SIDE, SHOWN_SIDE))
        content = picture.size, picture.tobytes()
        if content not in self.known:
            self.known[content] = f"{wanted}.png"
            picture.save(self.folder / f"{wanted}.png")
        return self.known[content]

    def names(self, images: Iterable[AnyImage], wanted: str) -> list[str]:
        """Store images, under `wanted` with their places behind it, and give their files' names."""
        return [self.name(image, f"{wanted}-{place}") for place, image in enumerate(images)]


def _said(shown: Example | Found | Heatmap, **images: Any) -> dict[str, Any]:
    return {field.name: getattr(shown, field.name) for field in fields(shown)} | images
