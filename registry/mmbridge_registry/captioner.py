"""The contract of CapFilt's parts: a captioner describes images, a scorer says how well descriptions fit."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

    from mmbridge_registry.evaluation import VisionLanguage

Load = Callable[..., "VisionLanguage"]
"""`load(path, stage=None)` opens a run, or whatever else `mmbridge.load` opens, for a part that is made of one."""


class Captioner(ABC):
    """Writes several captions of each image, drawn at random so that they differ."""

    @abstractmethod
    def caption(self, images: Sequence["Image"], count: int, seed: int) -> list[list[str]]:
        """Write `count` captions of each RGB image; the same seed and images give the same captions."""


class Scorer(ABC):
    """Says how well texts describe an image, on a scale of its own: higher is better."""

    @abstractmethod
    def score(self, images: Sequence["Image"], texts: Sequence[Sequence[str]]) -> list[list[float]]:
        """Score every text of every RGB image against that image; an image may have any number of texts."""
