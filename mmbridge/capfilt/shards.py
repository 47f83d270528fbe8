"""Shards: tars as `image_tars` reads them, each with a page of figures beside it."""

import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from mmbridge_registry import Record, UserError
from PIL import Image

from mmbridge.data.images import decode
from mmbridge.disk import publish

PIPELINE = "capfilt.json"
SUFFIXES = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}


@dataclass
class Figures:
    """What came of a shard."""

    records: int = 0
    images: int = 0
    made: int = 0
    """Captions that were made and differ."""
    kept: int = 0
    kept_from_web: int = 0
    score: float = 0.0
    """Sum of the scores of what was kept."""
    seconds: float = 0.0
    bad: list[tuple[str, str]] = field(default_factory=list)
    """Records that could not be used, and why."""

    def __add__(self, other: "Figures") -> "Figures":
        return Figures(*(mine + theirs for mine, theirs in zip(_values(self), _values(other), strict=True)))


def _values(figures: Figures) -> list[Any]:
    return [getattr(figures, name) for name in Figures.__dataclass_fields__]


def tar_of(folder: Path, shard: int) -> Path:
    """Name a shard's tar."""
    return folder / f"{shard:05d}.tar"


def write_shard(
    folder: Path, shard: int, samples: Sequence[tuple[int, Record, Mapping[str, Any]]], figures: Figures, rank: int
) -> None:
    """Write samples (number in the shard, record, what is said of it), whole or not at all; equal shards are equal
    files."""
    tar = tar_of(folder, shard)
    publish(tar.with_suffix(".json"), rank, lambda partial: partial.write_text(json.dumps(asdict(figures), indent=1)))
    publish(tar, rank, lambda partial: _write_tar(partial, shard, samples))


def _write_tar(path: Path, shard: int, samples: Sequence[tuple[int, Record, Mapping[str, Any]]]) -> None:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for number, record, said in samples:
            key = f"{shard:05d}{number:05d}"
            suffix, image = encoded(record)
            facts = {name: value for name, value in record.facts.items() if isinstance(value, str | int | float)}
            text = json.dumps({"key": key, "name": record.name, **facts, **said}, ensure_ascii=False)
            for member, content in ((suffix, image), ("json", text.encode(errors="replace"))):
                info = tarfile.TarInfo(f"{key}.{member}")
                info.size = len(content)
                tar.addfile(info, BytesIO(content))


def encoded(record: Record) -> tuple[str, bytes]:
    """Give an image's suffix and bytes: as they are, if tars are read with that format, and else as PNG."""
    image = record.image
    if isinstance(image, Path):
        image = image.read_bytes()
    if isinstance(image, bytes):
        picture = Image.open(BytesIO(image))
        if picture.format in SUFFIXES:
            return SUFFIXES[picture.format], image
        image = decode(image)
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return "png", buffer.getvalue()


def read_figures(folder: Path, shards: int) -> Iterator[Figures]:
    """Read the figures of the shards that are there."""
    for shard in range(shards):
        if tar_of(folder, shard).exists():
            values = json.loads(tar_of(folder, shard).with_suffix(".json").read_text())
            yield Figures(**values | {"bad": [tuple(bad) for bad in values["bad"]]})


def check_same(folder: Path, key: Mapping[str, Any], rank: int) -> None:
    """Check that a folder is empty or holds shards of the same pipeline; write down which it is.

    Raises:
        UserError: it holds others, or something else.
    """
    page = folder / PIPELINE
    there = any(folder.glob("*.tar"))
    if not (page.exists() and there):
        if there:
            raise UserError("there are other tars here.", where=folder, do="Choose another output=FOLDER.")
        return publish(page, rank, lambda partial: partial.write_text(json.dumps(dict(key), indent=1)))
    before = json.loads(page.read_text())
    for name in sorted({*before, *key}):
        if before.get(name) != key.get(name):
            what = f"its shards were made with {name} = {before.get(name)}, now it is {key.get(name)}."
            raise UserError(what, where=folder, do="Choose another output=FOLDER, or undo the change.")
    return None
