"""A vision encoder of two convolutions."""

from dataclasses import dataclass

import torch
from mmbridge_registry import VisionEncoder
from PIL import Image
from torch import Tensor, nn

from mmbridge_stranger import ConvOptions


@dataclass(frozen=True)
class Squash:
    """Resize to the square and centre around zero; in training, flip every second image."""

    size: int
    flip: bool

    def __call__(self, image: Image.Image) -> Tensor:
        small = image.convert("RGB").resize((self.size, self.size), Image.Resampling.BILINEAR)
        values = torch.frombuffer(bytearray(small.tobytes()), dtype=torch.uint8).reshape(self.size, self.size, 3)
        pixels = values.permute(2, 0, 1).float() / 127.5 - 1
        return pixels.flip(-1) if self.flip and torch.rand(()) < 0.5 else pixels


class ConvEncoder(VisionEncoder):
    """Patches, one look at their neighbours, one token per patch; there is no class token."""

    def __init__(self, options: ConvOptions) -> None:
        super().__init__()
        self.width = options.width
        self.image_size = options.patch * options.patches
        self.num_tokens = options.patches**2
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            self.patches = nn.Conv2d(3, options.width, options.patch, stride=options.patch)
            self.neighbours = nn.Conv2d(options.width, options.width, 3, padding=1)
        self.eval()

    def transform(self, train: bool) -> Squash:
        """Give the transform to pixels [3,H,W] in [-1, 1]."""
        return Squash(self.image_size, flip=train)

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode pixels [B,3,H,W] to features [B,N,W]."""
        patches = torch.relu(self.patches(pixels.to(self.patches.weight.dtype)))
        return self.neighbours(patches).flatten(2).transpose(1, 2)
