"""Where queries look in the images that an evaluation shows, as files in a run's `samples/`."""

import json
import shutil
from collections.abc import Iterable, Iterator
from itertools import islice
from math import isqrt
from pathlib import Path
from typing import Any

import torch
from mmbridge_registry.vision_encoder import ImageTransform
from PIL import Image
from torch import Tensor

from mmbridge.inference.listing import Picture
from mmbridge.inference.reading import Reading
from mmbridge.model import BridgedModel

IMAGES = 6
QUERIES = 6


def write_attention(model: BridgedModel, pictures: Iterable[Picture], folder: Path | None) -> None:
    """Write where queries look in the first distinct pictures: PNGs as the encoder sees them, and `attention.json`.

    A folder that is there is replaced; a bridge that tells no weights leaves none. Towers in shards need all ranks
    for this: those that write nothing give no folder.

    Raises:
        UserError: a picture cannot be read.
    """
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
    reading = Reading(model)
    seen = list(islice(_distinct(reading.prepare(picture).pixels for picture in pictures), IMAGES))
    if not seen:
        return
    pixels = torch.stack(seen)
    with reading.answering():
        weights = model.bridge.attention(model.vision_encoder(pixels.to(model.device)))
    if weights is None or folder is None:
        return
    folder.mkdir(parents=True)
    told = maps(weights.float().cpu())
    for picture, one in zip(as_seen(pixels, model.vision_encoder.transform(train=False)), told, strict=True):
        picture.save(folder / one["image"])
    (folder / "attention.json").write_text(json.dumps(told))


def maps(weights: Tensor) -> list[dict[str, Any]]:
    """Tell of each image what weights [L,B,Q,N] its patches have, in the first, middle and last of the layers.

    Patches are the last square of tokens; the weights of what stands before them (a class token) are left out, so that
    those of the patches add up to less than 1. The queries are those that differ most, the same ones for all images;
    `mean` is the mean over all queries.
    """
    side = isqrt(weights.shape[-1])
    layers = sorted({0, len(weights) // 2, len(weights) - 1})
    patches = weights[layers][..., -side * side :]
    queries = farthest(patches.permute(2, 0, 1, 3).flatten(1), QUERIES)
    shared = {"grid": [side, side], "layers": layers, "queries": queries}
    return [
        {
            "image": f"{number:03d}.png",
            **shared,
            "weights": [[_short(row) for row in layer[queries]] for layer in image],
            "mean": [_short(layer.mean(0)) for layer in image],
        }
        for number, image in enumerate(patches.unbind(1))
    ]


def farthest(points: Tensor, count: int) -> list[int]:
    """Choose rows [n,F] that differ: the one farthest from the mean, then whichever is farthest from all chosen."""
    apart = torch.cdist(points, points)
    chosen = [int((points - points.mean(0)).norm(dim=1).argmax())]
    while len(chosen) < min(count, len(points)):
        nearest = apart[chosen].amin(0)
        nearest[chosen] = -1  # equal rows would be chosen again
        chosen.append(int(nearest.argmax()))
    return chosen


def as_seen(pixels: Tensor, transform: ImageTransform) -> list[Image.Image]:
    """Make pixels [B,3,H,W] pictures again.

    How a transform scales each colour is told by what it makes of a black picture and of a white one, whatever mean and
    standard deviation it was given.
    """
    size = (pixels.shape[-1], pixels.shape[-2])
    black, white = (transform(Image.new("RGB", size, name)).mean((1, 2), keepdim=True) for name in ("black", "white"))
    scaled = ((pixels - black) / (white - black)).clamp(0, 1) * 255
    return [Image.fromarray(one.numpy()) for one in scaled.round().byte().permute(0, 2, 3, 1).contiguous()]


def _distinct(pixels: Iterable[Tensor]) -> Iterator[Tensor]:
    known: set[bytes] = set()
    for one in pixels:
        content = one.numpy().tobytes()
        if content not in known:
            known.add(content)
            yield one


def _short(values: Tensor) -> list[float]:
    """Four digits that count: weights over many patches are small."""
    return [float(f"{value:.4g}") for value in values.tolist()]
