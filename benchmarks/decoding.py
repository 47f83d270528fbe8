"""Time one training sample from the bytes of its JPEG to pixels, part by part: before, and with each improvement.

    python benchmarks/decoding.py
    python benchmarks/decoding.py --size 364 --scale 0.5

Milliseconds of CPU time on one thread. `whole` decodes everything and lets Pillow resize, as torchvision does with an
opened picture. `planes` normalises channels that are in one piece (the same floats), `torch_resize` resizes by torch,
`reduced` decodes large JPEGs smaller: each with those before it. The last is what `clip_vit` does. `error` is how far
the crops of smaller decoding are from those of whole decoding, for each number of times that the side that is needed
must be left, and how far torch's resizing is from Pillow's: mean and greatest of 0 to 255.
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from functools import partial
from io import BytesIO
from typing import Any

import numpy as np
import torch
from mmbridge_clip.transform import image_transform
from PIL import Image
from skimage import data
from torchvision.transforms import v2

from mmbridge.data.images import decode
from mmbridge.data.samples import seeded

PREPROCESS = {
    "mean": (0.48145466, 0.4578275, 0.40821073),
    "std": (0.26862954, 0.26130258, 0.27577711),
    "interpolation": "bicubic",
}
SIZES = {"img2dataset": (256, 256, 95), "coco": (640, 480, 90), "web": (2048, 1536, 85), "camera": (4000, 3000, 90)}
"""Width, height and JPEG quality."""
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee")
BICUBIC = v2.InterpolationMode.BICUBIC


def jpeg(photograph: str, width: int, height: int, quality: int) -> bytes:
    """Scale a photograph and give it the grain that scaling leaves out."""
    picture = Image.fromarray(getattr(data, photograph)()).resize((width, height), Image.Resampling.BICUBIC)
    grainy = np.asarray(picture, dtype="float32") + np.random.default_rng(0).normal(0, 3, (height, width, 3))
    buffer = BytesIO()
    Image.fromarray(grainy.clip(0, 255).astype("uint8")).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def milliseconds(calls: dict[str, Callable[[], Any]], seconds: float) -> dict[str, float]:
    """CPU time of each call: the median, all in turn, so that what else the machine does slows them alike."""
    spent: dict[str, list[float]] = {name: [] for name in calls}
    end = time.process_time() + seconds * len(calls)
    while time.process_time() < end or any(len(times) < 5 for times in spent.values()):
        for name, call in calls.items():
            start = time.process_time()
            call()
            spent[name].append(time.process_time() - start)
    return {name: round(1000 * float(np.median(times)), 2) for name, times in spent.items()}


def torchvisions(size: int, scale: float, planes: bool) -> Callable[[Image.Image], torch.Tensor]:
    """The transform as torchvision's own, for opened pictures."""
    geometry = [v2.RandomResizedCrop((size, size), (scale, 1.0), interpolation=BICUBIC), v2.RandomHorizontalFlip()]
    together = [v2.Lambda(torch.Tensor.contiguous)] if planes else []
    normalise = v2.Normalize(PREPROCESS["mean"], PREPROCESS["std"])
    return v2.Compose([*geometry, v2.PILToTensor(), *together, v2.ToDtype(torch.float32, scale=True), normalise])


def times(encoded: bytes, size: int, scale: float, seconds: float) -> dict[str, float]:
    """Time a sample whole, with each improvement, and each part of it."""
    ours = image_transform(size, PREPROCESS, (scale, 1.0))
    before, planes = torchvisions(size, scale, planes=False), torchvisions(size, scale, planes=True)
    side = ours.needed_side  # type: ignore[attr-defined]
    picture = decode(encoded)
    small, smaller = picture.resize((size, size)), decode(encoded, side)

    def draw(transform: Callable[[Image.Image], torch.Tensor], needed: int | None = None) -> torch.Tensor:
        with seeded(0):
            return transform(decode(encoded, needed))

    calls: dict[str, Callable[[], Any]] = {
        "sample: whole": lambda: draw(before),
        "sample: planes": lambda: draw(planes),
        "sample: torch_resize": lambda: draw(ours),
        "sample: reduced": lambda: draw(ours, side),
        "part: decode": lambda: decode(encoded),
        "part: decode reduced": lambda: decode(encoded, side),
        "part: convert": lambda: picture.convert("RGB"),
        "part: crop and resize by Pillow": partial(before.transforms[0], picture),  # type: ignore[attr-defined]
        "part: crop and resize by torch": lambda: ours.transforms[1](ours.transforms[0](picture)),  # type: ignore
        "part: crop and resize reduced": lambda: ours.transforms[1](ours.transforms[0](smaller)),  # type: ignore
        "part: to tensor and normalise": lambda: v2.Compose(before.transforms[2:])(small),  # type: ignore
        "part: the same, by planes": lambda: v2.Compose(planes.transforms[2:])(small),  # type: ignore
    }
    return milliseconds(calls, seconds)


def distance(one: np.ndarray, two: np.ndarray) -> list[float]:
    """Mean and greatest difference of two pictures, of 0 to 255."""
    apart = np.abs(one.astype(float) - two)
    return [round(float(apart.mean()), 4), float(apart.max())]


def smallest_crop(picture: Image.Image, size: int, scale: float, shrunk: int = 1) -> np.ndarray:
    """The smallest crop that is drawn, from the middle, at the same place of a picture that was shrunk."""
    height = 16 * int(math.sqrt(scale * 0.75 * picture.width * picture.height) * shrunk / 16) // shrunk
    width = 16 * int(height * shrunk * 4 / 3 / 16) // shrunk
    left, top = (
        16 * ((side * shrunk - crop) // 32) // shrunk
        for side, crop in zip(picture.size, (width * shrunk, height * shrunk), strict=True)
    )
    return np.asarray(
        picture.crop((left, top, left + width, top + height)).resize((size, size), Image.Resampling.BICUBIC)
    )


def errors(size: int, scale: float) -> dict[str, list[float]]:
    """How far smaller decoding is from whole decoding, when 1, 1.5, 2 and 3 times what is needed is left."""
    found: dict[str, list[list[float]]] = {}
    for photograph in PHOTOGRAPHS:
        for times_left in (1, 1.5, 2, 3):
            side = 2 * math.ceil(times_left * size / math.sqrt(scale * 0.75) / 16) * 16
            encoded = jpeg(photograph, side * 4 // 3, side, 90)
            half = Image.open(BytesIO(encoded))
            half.draft(None, (half.width // 2, half.height // 2))
            apart = distance(
                smallest_crop(decode(encoded), size, scale), smallest_crop(half.convert("RGB"), size, scale, 2)
            )
            found.setdefault(f"reduced, {times_left} times left", []).append(apart)
        whole = decode(jpeg(photograph, 640, 480, 90))
        pixels = v2.functional.resize(v2.functional.pil_to_tensor(whole), [size, size], BICUBIC)
        ours, pillows = (
            pixels.permute(1, 2, 0).numpy(),
            np.asarray(whole.resize((size, size), Image.Resampling.BICUBIC)),
        )
        found.setdefault("torch's resizing", []).append(distance(ours, pillows))
    return {name: [max(column) for column in zip(*rows, strict=True)] for name, rows in found.items()}


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=224, help="side of the encoder's input")
    parser.add_argument("--scale", type=float, default=0.5, help="smallest share of the area that a crop keeps")
    parser.add_argument("--seconds", type=float, default=0.4, help="of CPU time for each figure")
    given = parser.parse_args()
    torch.set_num_threads(1)
    result: dict[str, Any] = vars(given) | {"error": errors(given.size, given.scale)}
    for name, (width, height, quality) in SIZES.items():
        encoded = jpeg("astronaut", width, height, quality)
        result[f"{name}: {width} x {height}"] = times(encoded, given.size, given.scale, given.seconds)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
