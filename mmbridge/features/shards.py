"""Shards: the features of some hundred images in one safetensors file, read where they lie."""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from mmbridge_registry import UserError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mmbridge.disk import publish
from mmbridge.features.folder import Manifest, shard_file

AGAIN = "Remove this file; `mmbridge data features` with the same config writes it again."


@dataclass(frozen=True)
class Shard:
    """An opened shard."""

    features: Any
    """[images,views,N,W] on disk."""
    sums: Tensor
    """[images,views] int64: CRC-32 of each."""
    unreadable: Mapping[int, str]
    """Images that could not be read, by their number in the shard, and why."""


def write_shard(file: Path, rank: int, features: Tensor, unreadable: Mapping[int, str]) -> None:
    """Write features [images,views,N,W], whole or not at all."""
    sums = torch.tensor([[_sum(view) for view in image] for image in features])
    tensors = {"features": features.contiguous(), "crc32": sums}
    # One key: safetensors writes several in no fixed order, and equal shards would not be equal files.
    metadata = {"unreadable": json.dumps(dict(sorted(unreadable.items())))}
    publish(file, rank, lambda partial: save_file(tensors, partial, metadata))


@lru_cache(maxsize=1024)
def open_shard(file: Path) -> Shard:
    """Open a shard; nothing of its features is read yet.

    Raises:
        UserError: it is not there, cut short, or no shard.
    """
    try:
        with safe_open(file, framework="pt") as opened:
            unreadable = json.loads(opened.metadata()["unreadable"])
            sums = opened.get_tensor("crc32").clone()
            return Shard(opened.get_slice("features"), sums, {int(row): why for row, why in unreadable.items()})
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"this shard cannot be read ({error}).", where=file, do=AGAIN) from error


def read_features(file: Path, image: int, view: int) -> Tensor:
    """Read the features [N,W] of an image of a shard, by its number there, and check that no bit has changed.

    Raises:
        UserError: the shard is damaged.
    """
    shard = open_shard(file)
    features = shard.features[image, view]
    if _sum(features) != int(shard.sums[image, view]):
        raise UserError(f"the features of image {image} are damaged.", where=file, do=AGAIN)
    return features


def missing(folder: Path, manifest: Manifest) -> list[int]:
    """List the shards that have not been written.

    Raises:
        UserError: one that is there is cut short, or of another form.
    """
    absent = [number for number in range(manifest.shards) if not shard_file(folder, number).exists()]
    for number in sorted(set(range(manifest.shards)) - set(absent)):
        shape = [len(manifest.rows(number)), *manifest.shape]
        form = open_shard(shard_file(folder, number)).features
        if form.get_shape() != shape:
            what = f"this shard is {form.get_shape()}, not {shape}."
            raise UserError(what, where=shard_file(folder, number), do=AGAIN)
    return absent


def _sum(features: Tensor) -> int:
    return zlib.crc32(features.contiguous().view(torch.uint8).numpy().data)
