"""Pictures to pixels (BLIP-2, section 4.1: crop and flip; evaluation resizes straight to the square)."""

from collections.abc import Mapping
from typing import Any

import torch
from mmbridge_registry.vision_encoder import ImageTransform
from torchvision.transforms import v2


def image_transform(
    size: int, preprocess: Mapping[str, Any], crop_scale: tuple[float, float] | None = None
) -> ImageTransform:
    """Give the transform to [3,size,size] float32; with `crop_scale`, a random crop of that share of the area and a
    random flip, else the whole image."""
    mode = v2.InterpolationMode(preprocess["interpolation"])
    if crop_scale is None:
        geometry = [v2.Resize((size, size), interpolation=mode)]
    else:
        geometry = [
            v2.RandomResizedCrop((size, size), scale=crop_scale, interpolation=mode),
            v2.RandomHorizontalFlip(),
        ]
    to_tensor = [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)]
    normalise = v2.Normalize(list(preprocess["mean"]), list(preprocess["std"]))
    return v2.Compose([*geometry, *to_tensor, normalise])
