"""The contract of a step: one batch on its way through the model."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from mmbridge_registry.bridge import ImageState, TextBridge
from mmbridge_registry.language_model import LanguageModel
from mmbridge_registry.objective import Prepared
from mmbridge_registry.tokens import Tokens


@dataclass(frozen=True)
class Batch:
    """This rank's rows of a global batch."""

    pixels: Tensor | None
    """[B,3,H,W] float32; None if the batch comes with features."""
    image_ids: Tensor
    """[B] int64; equal ids are the same image."""
    positions: Tensor
    """[B] int64; places in the run's global order."""
    prepared: Mapping[str, Prepared]
    """What objectives prepared, by name."""
    features: Tensor | None = None
    """[B,N,W] what a frozen encoder made of the pixels, if it was written down beforehand."""

    def __len__(self) -> int:
        return self.image_ids.shape[0]

    def to(self, device: torch.device, non_blocking: bool = False) -> "Batch":
        """Copy to a device."""
        return Batch(
            None if self.pixels is None else self.pixels.to(device, non_blocking=non_blocking),
            self.image_ids.to(device, non_blocking=non_blocking),
            self.positions.to(device, non_blocking=non_blocking),
            {name: item.to(device, non_blocking=non_blocking) for name, item in self.prepared.items()},
            None if self.features is None else self.features.to(device, non_blocking=non_blocking),
        )

    def split(self, size: int) -> Iterator["Batch"]:
        """Cut into micro-batches of `size` rows, in order."""
        for first in range(0, len(self), size):
            yield self.select(slice(first, first + size))

    def select(self, rows: Tensor | slice) -> "Batch":
        """Pick rows."""
        prepared = {
            name: item[rows] if isinstance(item, Tensor) else item.select(rows) for name, item in self.prepared.items()
        }
        return replace(
            self,
            pixels=None if self.pixels is None else self.pixels[rows],
            image_ids=self.image_ids[rows],
            positions=self.positions[rows],
            prepared=prepared,
            features=None if self.features is None else self.features[rows],
        )


@dataclass(frozen=True)
class Similarity:
    """Local rows of the global similarity matrices, already divided by the temperature (BLIP-2, section 3.1)."""

    image_to_text: Tensor
    """[B,G]: max over queries of the cosine of local image i and global text j, over temperature."""
    text_to_image: Tensor
    """[B,G]: the same for local text i and global image j."""
    same_image: Tensor
    """[B,G] bool: local row i and global row j show the same image; True at least at i itself."""
    own: Tensor
    """[B] int64: the global number of each local row."""


class Step(ABC):
    """What objectives share, each computed when first asked for and once. G = rows of the global batch.

    Local rows [B] are this rank's, or a micro-batch of them; the global batch is the same for all micro-batches.
    """

    batch: Batch
    bridge: TextBridge
    """The stage's bridge; a plain `Bridge` unless the objective requires `TEXT_BRIDGE`."""
    language_model: LanguageModel
    """The language model; raises AttributeError-like TypeError without one."""

    @property
    @abstractmethod
    def features(self) -> Tensor:
        """Encoder features [B,N,W]."""

    @property
    @abstractmethod
    def image(self) -> ImageState:
        """Image state of the local rows; one image pass serves all objectives."""

    @property
    @abstractmethod
    def captions(self) -> Tokens:
        """Caption tokens of the local rows (`prepared["captions"]`)."""

    @property
    @abstractmethod
    def soft_prompt(self) -> Tensor:
        """Projected queries [B,Q,E], in front of the language model's text."""

    @abstractmethod
    def similarity(self, gather: Literal["exact", "nograd"] = "exact") -> Similarity:
        """Similarities over the global batch.

        `exact` lets gradient flow through the gather, so N ranks equal one; `nograd` gathers constants, own rows
        included, as the original implementation does.
        """

    @abstractmethod
    def images(self, index: Tensor) -> ImageState:
        """Image states of global rows `index` [n]; only the chosen rows travel between ranks."""

    @abstractmethod
    def texts(self, index: Tensor) -> Tokens:
        """Caption tokens of global rows `index` [n]."""

    @abstractmethod
    def uniform(self, stream: str) -> Tensor:
        """Draw one number in [0,1) per local row [B] float64: a function of (seed, step, global row, stream) only."""
