"""The gallery: distinct images and all their texts, read from a dataset."""

from dataclasses import dataclass
from pathlib import Path

import torch
from mmbridge_registry import Dataset, UserError
from PIL.Image import Image
from torch import Tensor


@dataclass(frozen=True)
class Gallery:
    """n images and m texts; text j belongs to image `owner[j]`."""

    images: list[bytes | Path | Image]
    names: list[int | str]
    """What files of predictions call the images: `image_id`, or the record's name where the dataset has no ids."""
    texts: list[str]
    owner: list[int]

    @classmethod
    def of(cls, dataset: Dataset) -> "Gallery":
        """Read a dataset; records with one image id are one image with the texts of all of them.

        Raises:
            UserError: an image has no text, or there is only one image.
        """
        gallery, place_of = cls([], [], [], []), {}
        for record in dataset:
            if not record.texts:
                raise UserError(f"record '{record.name}' has no text to retrieve.", do="Evaluate on captions.")
            # Images without ids are all distinct; their keys may not meet any id.
            key = ("no id", len(gallery.images)) if record.image_id is None else ("id", record.image_id)
            place = place_of.setdefault(key, len(gallery.images))
            if place == len(gallery.images):
                gallery.images.append(record.image)
                gallery.names.append(record.name if record.image_id is None else record.image_id)
            gallery.texts.extend(record.texts)
            gallery.owner.extend([place] * len(record.texts))
        if len(gallery.images) < 2:
            raise UserError("retrieval needs at least two images.")
        return gallery

    def truth(self) -> Tensor:
        """Mask [n,m] bool: text j belongs to image i."""
        return torch.tensor(self.owner) == torch.arange(len(self.images))[:, None]

    def sample(self, size: int) -> tuple[list[int], list[int]]:
        """Choose at most `size` images, always the same ones, and the first text of each."""
        draw = torch.randperm(len(self.images), generator=torch.Generator().manual_seed(0))
        images = sorted(draw[:size].tolist())
        return images, [self.owner.index(image) for image in images]
