"""The folder of one data set's features: which files lie there, and the page that says what they are."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

from mmbridge_registry import UserError

from mmbridge.disk import publish
from mmbridge.fingerprints import sha256

MANIFEST, RECORDS, IMAGES = "features.json", "records.npy", "images.npy"
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
LARGEST_SHARD, MOST_IMAGES = 2**29, 1024
"""A shard has at most so many bytes and images: it is in memory while it is written, and lost when that is stopped."""


@dataclass(frozen=True)
class Manifest:
    """What the features of a data set are, and what of."""

    key: Mapping[str, Any]
    """Everything that they depend on, by the names that a config has for it."""
    records: int
    images: int
    """Different images; records that share one share its features."""
    shape: tuple[int, int, int]
    """Views, tokens N and width W of one image."""
    dtype: str
    images_per_shard: int
    index: Mapping[str, str]
    """SHA-256 of the files that say which record shows which image."""

    @property
    def bytes_per_image(self) -> int:
        """Bytes of one image's features, all views of it."""
        return prod(self.shape) * BYTES[self.dtype]

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-self.images // self.images_per_shard)

    def rows(self, shard: int) -> range:
        """Give the images of a shard."""
        first = shard * self.images_per_shard
        return range(first, min(first + self.images_per_shard, self.images))


def images_per_shard(bytes_per_image: int) -> int:
    """Say how many images a shard has."""
    return max(1, min(MOST_IMAGES, LARGEST_SHARD // bytes_per_image))


def shard_file(folder: Path, number: int) -> Path:
    """Name the file of a shard."""
    return folder / f"features-{number:06d}.safetensors"


def read_manifest(folder: Path) -> Manifest | None:
    """Read what the features in a folder are; None if there are none.

    Raises:
        UserError: what lies there cannot be read, or its index has changed.
    """
    file = folder / MANIFEST
    if not file.exists():
        return None
    try:
        values = json.loads(file.read_text())
        manifest = Manifest(**values | {"shape": tuple(values["shape"])})
        for name, expected in manifest.index.items():
            if sha256(folder / name) != expected:
                raise ValueError(f"{name} is damaged")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"these features cannot be used ({error}).", where=folder, do="Remove the folder.") from error
    return manifest


def write_manifest(folder: Path, manifest: Manifest, rank: int) -> None:
    """Write what the features in a folder are, whole or not at all."""
    text = json.dumps(asdict(manifest), indent=1)
    publish(folder / MANIFEST, rank, lambda partial: partial.write_text(text))
