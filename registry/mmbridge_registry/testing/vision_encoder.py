"""The conformance check of vision encoders."""

import random
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmbridge_registry.testing.promises import (
    expect,
    expect_close,
    expect_pickles,
    expect_safe_dtype,
    expect_saves,
    expect_stays_in_eval_mode,
    state,
)
from mmbridge_registry.vision_encoder import ImageTransform, VisionEncoder

if TYPE_CHECKING:
    from PIL.Image import Image


def check_vision_encoder(encoder: VisionEncoder) -> None:
    """Check what the framework relies on in a vision encoder.

    Raises:
        AssertionError: names the promise that is broken.
    """
    expect(isinstance(encoder, VisionEncoder), "a vision encoder derives from VisionEncoder")
    expect(not encoder.training, "a vision encoder is built in eval mode")
    expect_safe_dtype(encoder, encoder.safe_dtypes)
    expect_stays_in_eval_mode(encoder)
    _check_features(encoder)
    expect_saves(encoder, lambda part: part(_pixels(part)))
    for train in (False, True):
        _check_transform(encoder, train)


def _check_features(encoder: VisionEncoder) -> None:
    with state(encoder, grad=False, training=False):
        pixels = _pixels(encoder)
        features = encoder(pixels)
        want = (3, encoder.num_tokens, encoder.width)
        expect(tuple(features.shape) == want, f"features are [B, num_tokens, width] = {want}, not {features.shape}")
        expect(bool(features.isfinite().all()), "features are finite")
        expect(not features.requires_grad, "a frozen encoder leaves nothing for backward")
        expect(torch.equal(encoder(pixels), features), "the same pixels always give the same features")
        alone = torch.cat([encoder(row[None]) for row in pixels])
        expect_close(features, alone, "a batch of images gives what its images give alone")
        expect(bool((features[0] - features[1]).norm() > 0), "different images give different features")


def _check_transform(encoder: VisionEncoder, train: bool) -> None:
    name = f"transform(train={train})"
    transform = encoder.transform(train)
    copy = expect_pickles(transform, f"{name} is picklable: it runs in loader workers")
    for size in ((64, 48), (30, 90), (7, 5)):
        picture = _picture(*size)
        pixels = _draw(transform, picture, other_seed=1)
        want = (3, encoder.image_size, encoder.image_size)
        expect(tuple(pixels.shape) == want, f"{name} gives [3, image_size, image_size] = {want}, not {pixels.shape}")
        expect(pixels.dtype == torch.float32, f"{name} gives float32, not {pixels.dtype}")
        expect(bool(pixels.isfinite().all()), f"{name} gives finite pixels")
        again = _draw(copy, picture, other_seed=2)
        expect(torch.equal(pixels, again), f"{name} draws from torch's default generator only, pickled or not")
    if not train:
        drawn = [_draw(transform, picture, other_seed=1, seed=seed) for seed in (1, 2)]
        expect(torch.equal(*drawn), f"{name} draws nothing")


def _draw(transform: ImageTransform, picture: "Image", other_seed: int, seed: int = 0) -> Tensor:
    """Transform under a seed of torch's, with Python's generator somewhere else."""
    before = random.getstate()
    random.seed(other_seed)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return transform(picture)
    finally:
        random.setstate(before)


def _picture(width: int, height: int) -> "Image":
    from PIL import Image

    noise = torch.randint(256, (height * width * 3,), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return Image.frombytes("RGB", (width, height), bytes(noise.tolist()))


def _pixels(encoder: VisionEncoder) -> Tensor:
    size = encoder.image_size
    return torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(0))
