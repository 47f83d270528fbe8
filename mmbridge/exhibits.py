"""Exhibits: what an evaluation shows beside its numbers, as files in a run's `samples/`."""

import json
import shutil
from pathlib import Path

from mmbridge_registry import Evaluated

from mmbridge.data.images import open_image

SHOWN_SIDE = 384
"""Longest side in pixels of an example's image in `samples/`."""


def write_examples(evaluated: Evaluated, folder: Path) -> None:
    """Replace a folder of examples: numbered PNGs and what was said of them in `examples.json`."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    listed = []
    for number, example in enumerate(evaluated.examples):
        image, name = open_image(example.image), f"{number:03d}.png"
        image.thumbnail((SHOWN_SIDE, SHOWN_SIDE))
        image.save(folder / name)
        said = {key: getattr(example, key) for key in ("question", "truth", "output", "correct")}
        listed.append({"image": name} | said)
    (folder / "examples.json").write_text(json.dumps(listed, indent=1))
