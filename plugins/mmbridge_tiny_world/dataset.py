"""The dataset: records of the world, drawn when they are read."""

from collections.abc import Mapping
from hashlib import sha256

import numpy as np
from mmbridge_registry import Dataset, Record

from . import TinyWorldOptions
from .drawing import draw_image
from .grammar import captions
from .questions import draw_question
from .world import Picture, picture_at

TRAIN_SIZE, HELD_OUT_SIZE = 40_000, 256
SAMPLE = 16
"""Records, spread over all of them, that speak for the others."""


class TinyWorld(Dataset):
    """Pictures with their captions, or with a question; `facts` hold the scene and the split for the evaluations."""

    def __init__(self, options: TinyWorldOptions) -> None:
        self.options = options
        self.size = options.size or (TRAIN_SIZE if options.split == "train" else HELD_OUT_SIZE)

    def __len__(self) -> int:
        return self.size

    @property
    def contents(self) -> Mapping[str, str]:
        """A sum of some records: nothing lies on disk, so code and libraries that draw others are all that changes."""
        drawn = sha256()
        for index in range(0, self.size, max(1, self.size // SAMPLE)):
            record = self.read(index)
            drawn.update(
                repr((record.texts, record.question, record.answers)).encode() + np.asarray(record.image).tobytes()
            )
        return {"drawn": f"sha256 {drawn.hexdigest()}"}

    def read(self, index: int) -> Record:
        """Draw record `index`."""
        split, seed = self.options.split, self.options.seed
        picture = picture_at(split, seed, index, self.size)
        # Its own stream: how a picture is drawn may not change what is asked about it.
        rng = np.random.default_rng([seed, index, len(picture.scene.things)])
        name = f"{split} {seed}/{index}"
        return _asking(picture, name, split, rng) if rng.random() < self.options.ask else _telling(picture, name, split)


def _asking(picture: Picture, name: str, split: str, rng: np.random.Generator) -> Record:
    asked = draw_question(picture.scene, rng)
    facts = {"scene": picture.scene, "split": split, "kind": asked.kind}
    return Record(draw_image(picture), question=asked.text, answers=(asked.answer,), name=name, facts=facts)


def _telling(picture: Picture, name: str, split: str) -> Record:
    wordings = captions(picture.scene)
    # Held-out captions are in one wording, so that retrieval is about the scene and not about the wording.
    texts = tuple(wordings if split == "train" else wordings[:1])
    return Record(draw_image(picture), texts, name=name, facts={"scene": picture.scene, "split": split})
