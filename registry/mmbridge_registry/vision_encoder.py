"""The contract of vision encoders."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmbridge_registry.tower import Tower

if TYPE_CHECKING:
    from PIL.Image import Image

ImageTransform = Callable[["Image"], Tensor]
"""From a PIL RGB image to pixels. It may have an attribute `needed_side`: see `needed_side`."""


def needed_side(transform: ImageTransform) -> int | None:
    """Give the shorter side, in pixels, below which a transform would ever enlarge an image; None if it does not say.

    A transform that says so may be given large JPEGs that were decoded at a half, a quarter or an eighth of their size.
    """
    return getattr(transform, "needed_side", None)


class VisionEncoder(Tower, ABC):
    """Pixels to patch features. Frozen by default: always in eval mode, in the dtype that its options name."""

    width: int
    """Width W of the features."""
    image_size: int
    """Side of the square input in pixels."""
    num_tokens: int
    """Features per image, N; class tokens included."""
    safe_dtypes: frozenset[torch.dtype] = frozenset({torch.float32, torch.bfloat16})
    """Dtypes in which its forward is known to be finite; the run refuses others at start."""

    @abstractmethod
    def transform(self, train: bool) -> ImageTransform:
        """Give the picklable transform from a PIL RGB image to pixels [3,H,W] float32; it is called from threads too.

        With `train`, crops and flips are drawn from torch's default generator, which the loader seeds per sample.
        Mean, standard deviation and interpolation are this encoder's own.
        """

    @abstractmethod
    def forward(self, pixels: Tensor) -> Tensor:
        """Encode pixels [B,3,H,W] to features [B,N,W] of the layer that the options name (BLIP-2: the second last)."""
