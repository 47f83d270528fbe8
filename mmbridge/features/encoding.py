"""Encoding: from records to pictures in loader processes, from pictures to features on this rank's device."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmbridge_registry import Dataset, VisionEncoder
from mmbridge_registry.vision_encoder import ImageTransform, needed_side
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from mmbridge.data.images import decode
from mmbridge.data.samples import seeded
from mmbridge.engine import Engine
from mmbridge.features.views import view_seed

BATCH = 64
"""Pictures that the encoder sees at once."""


@dataclass(frozen=True)
class Seen:
    """Some images of a data set, ready for the encoder."""

    rows: list[int]
    """Numbers of the images that could be read."""
    pixels: Tensor
    """[images*views,3,H,W], the views of an image one after the other."""
    unreadable: Mapping[int, str]
    """The other images, and why."""

    def pin_memory(self) -> "Seen":
        """Copy the pixels to page-locked memory; the loader calls this when there is a GPU."""
        return Seen(self.rows, self.pixels.pin_memory(), self.unreadable)


@dataclass(frozen=True)
class Pictures(TorchDataset):
    """Ranges of images, read, decoded and transformed. Pickled to loader processes."""

    dataset: Dataset
    images: Path
    """File with the record from which to read each image."""
    transform: ImageTransform
    part: str
    """Name of the data set's part; views are drawn by it."""
    count: int
    """Views of each image."""

    def __getitem__(self, rows: range) -> Seen:
        """Give some images."""
        seen: dict[int, Tensor] = {}
        unreadable: dict[int, str] = {}
        for row in rows:
            try:
                seen[row] = self.views(row)
            except (OSError, ValueError) as error:
                unreadable[row] = str(error)
        return Seen(list(seen), torch.cat(list(seen.values())) if seen else torch.empty(0), unreadable)

    def views(self, row: int) -> Tensor:
        """Give the views [views,3,H,W] of an image: the training transform under seeds of their own.

        Raises:
            OSError, ValueError: it cannot be read.
        """
        record = int(np.load(self.images, mmap_mode="r")[row])
        picture = decode(self.dataset.read(record).image, needed_side(self.transform))
        views = []
        for view in range(self.count):
            with seeded(view_seed(self.part, row, view)):
                views.append(self.transform(picture))
        return torch.stack(views)


def encode(encoder: VisionEncoder, pixels: Tensor, here: Engine) -> Tensor:
    """Encode pixels [B,3,H,W] to features [B,N,W] as a step does, and bring them back."""
    with torch.no_grad(), here.precision():
        return encoder(pixels.to(here.device, non_blocking=True)).cpu()
