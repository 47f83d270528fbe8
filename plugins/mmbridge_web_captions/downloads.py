"""Which image came from which URL: img2dataset's own records, or a list of the user's."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from pathlib import Path

import numpy as np
from mmbridge_registry import UserError

FORMATS = (".jpg", ".png", ".webp", ".jpeg")
"""What img2dataset's `encode_format` makes."""
CHUNK = 100_000
"""URLs that are held as Python objects at a time."""


@dataclass(frozen=True)
class Downloads:
    """A table from URL to path of 8 bytes per image and its path, searched by halves: there may be millions."""

    digests: np.ndarray
    paths: np.ndarray

    def find(self, url: str) -> str | None:
        """Give the path of the image that came from a URL, relative to the image folder."""
        digest = _digest(url)
        place = int(np.searchsorted(self.digests, digest))
        if place == len(self.digests) or self.digests[place] != digest:
            return None
        return self.paths[place].decode()


def read_downloads(images: Path, listed: Path | None) -> Downloads:
    """Read what has been downloaded.

    Raises:
        UserError: there is no record of it.
    """
    pairs = _listed(listed) if listed else _img2dataset(images)
    digests: list[np.ndarray] = []
    paths: list[np.ndarray] = []
    while chunk := list(islice(pairs, CHUNK)):
        digests.append(np.array([_digest(url) for url, _ in chunk], dtype=np.uint64))
        paths.append(np.array([path.encode() for _, path in chunk]))
    if not digests:
        do = "Give the output folder of `img2dataset --output_format files`, or a list of URL and path as `downloaded`."
        raise UserError("there is no record of downloaded images.", where=listed or images, do=do)
    table = np.concatenate(digests)
    order = np.argsort(table, kind="stable")
    return Downloads(table[order], np.concatenate(paths)[order])


def signature(images: Path) -> str:
    """Name the state of img2dataset's output without reading it: another download, another name."""
    state = blake2b(digest_size=16)
    for file in sorted([*images.glob("*.parquet"), *images.glob("*/")]):
        stat = file.stat()
        state.update(f"{file.name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return state.hexdigest()


def _digest(url: str) -> int:
    return int.from_bytes(blake2b(url.encode(errors="replace"), digest_size=8).digest(), "big")


def _listed(source: Path) -> Iterator[tuple[str, str]]:
    with source.open(encoding="utf-8-sig", errors="replace", newline="\n") as file:
        for number, line in enumerate(file, start=1):
            url, tab, path = line.rstrip("\r\n").partition("\t")
            if line.strip() and not (tab and url.startswith("http") and path):
                raise UserError("this is no URL and path with a tab between.", where=f"{source}:{number}")
            if tab:
                yield url, path


def _img2dataset(images: Path) -> Iterator[tuple[str, str]]:
    """Read img2dataset's parquets, one row per attempt, or else the `.json` beside each image."""
    for shard in sorted(path for path in images.glob("*/") if path.name.isdecimal()):
        parquet = images / f"{shard.name}.parquet"
        attempts = _attempts(parquet) if parquet.is_file() else _beside(shard)
        suffix = next((file.suffix for file in shard.iterdir() if file.suffix in FORMATS), None)
        if suffix is not None:
            yield from ((url, f"{shard.name}/{key}{suffix}") for url, key, status in attempts if status == "success")


def _attempts(parquet: Path) -> Iterator[tuple[str, str, str]]:
    import pyarrow
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(parquet) as file:
            for batch in file.iter_batches(columns=["url", "key", "status"]):
                yield from zip(*(batch.column(name).to_pylist() for name in ("url", "key", "status")), strict=True)
    except (pyarrow.ArrowException, OSError, KeyError) as error:
        what = f"this is no list of downloads ({error})."
        raise UserError(what, where=parquet, do="Download the shard again.") from error


def _beside(shard: Path) -> Iterator[tuple[str, str, str]]:
    for file in sorted(shard.glob("*.json")):
        try:
            row = json.loads(file.read_bytes())
            yield row["url"], file.stem, row["status"]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"this does not say where its image is from ({error}).", where=file) from error
