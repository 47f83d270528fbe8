"""Pictures to pixels (BLIP-2, section 4.1: crop and flip; evaluation resizes straight to the square)."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from mmbridge_registry.vision_encoder import ImageTransform
from torchvision.transforms import v2


class Transform(v2.Compose):
    """Steps one after the other, and the shorter side below which they would ever enlarge an image."""

    def __init__(self, steps: list[Callable[..., Any]], needed_side: int) -> None:
        super().__init__(steps)
        self.needed_side = needed_side


def image_transform(
    size: int, preprocess: Mapping[str, Any], crop_scale: tuple[float, float] | None = None
) -> ImageTransform:
    """Give the transform to [3,size,size] float32; with `crop_scale`, a random crop of that share of the area and a
    random flip, else the whole image.

    The whole image is resized by Pillow, as everywhere; crops by torch, faster and with the same filter: in photographs
    a few values in a thousand differ by 1 of 255.
    """
    mode = v2.InterpolationMode(preprocess["interpolation"])
    scale = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(preprocess["mean"]), list(preprocess["std"]))]
    # Normalising and batching take half as long when each channel is in one piece, which Pillow's are not.
    planes = v2.Lambda(torch.Tensor.contiguous)
    if crop_scale is None:
        return Transform([v2.Resize((size, size), interpolation=mode), v2.PILToTensor(), planes, *scale], size)
    crop = v2.RandomResizedCrop((size, size), scale=crop_scale, interpolation=mode)
    smallest = math.sqrt(crop_scale[0] * crop.ratio[0])  # a side of a crop, as a share of the image's shorter side
    steps = [v2.PILToTensor(), crop, v2.RandomHorizontalFlip(), planes, *scale]
    return Transform(steps, math.ceil(size / smallest))
