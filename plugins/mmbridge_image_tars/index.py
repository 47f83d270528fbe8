"""The index of one tar: where each sample's image and captions lie, in a small file that is written once.

`00000.tar.mmidx` beside the tar, or in the cache folder where the tar's own cannot be written: a header of 64 bytes,
then per sample six little-endian int64, offset and length of the image, of the json and of the txt (0 0: it has none).
"""

import os
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from struct import Struct, error
from typing import NamedTuple, Self
from uuid import uuid4

from mmbridge_registry import UserError
from mmbridge_registry.cache import CACHE, cache_folder

from mmbridge_image_tars.headers import Member, members

HEADER = Struct("<8s3q16s16x")
ROW = Struct("<6q")
MAGIC = b"mmidx\0\0\1"
"""The last byte is the version: indices of another one are made anew."""
COLUMNS = {b"jpg": 0, b"jpeg": 0, b"png": 0, b"webp": 0, b"json": 2, b"txt": 4}


class Stamp(NamedTuple):
    """What changes when a tar does."""

    size: int
    mtime: int
    """In nanoseconds."""

    @classmethod
    def of(cls, tar: Path, file: int | None = None) -> Self:
        """Look at a tar, or at the descriptor by which it is open.

        Raises:
            UserError: it is not there.
        """
        try:
            status = tar.stat() if file is None else os.fstat(file)
        except OSError as cause:
            raise UserError(f"this tar cannot be read ({cause.strerror}).", where=tar) from cause
        return cls(status.st_size, status.st_mtime_ns)


class Index(NamedTuple):
    """The header of an index."""

    stamp: Stamp
    """Of the tar when it was indexed."""
    samples: int
    """That have an image."""
    names: bytes
    """BLAKE2b of the names of all files in the tar."""


def index_path(tar: Path) -> Path:
    """Give the place of a tar's index."""
    beside = tar.with_name(f"{tar.name}.mmidx")
    if beside.exists() or os.access(tar.parent, os.W_OK):
        return beside
    key = blake2b(os.fsencode(tar.absolute()), digest_size=8).hexdigest()
    return cache_folder() / "tars" / f"{key}-{tar.name}.mmidx"


def read_index(path: Path) -> Index | None:
    """Read the header of an index; None if there is none, or no whole one of this version."""
    try:
        with path.open("rb") as file:
            magic, size, mtime, count, names = HEADER.unpack(file.read(HEADER.size))
            whole = os.fstat(file.fileno()).st_size == HEADER.size + count * ROW.size
    except (OSError, error):
        return None
    return Index(Stamp(size, mtime), count, names) if whole and magic == MAGIC else None


def write_index(tar: Path) -> Index:
    """Index a tar from its headers; the index appears whole or not at all.

    Raises:
        UserError: the tar cannot be read, is cut short or damaged, or its index cannot be written.
    """
    try:
        file = os.open(tar, os.O_RDONLY)
    except OSError as cause:
        raise UserError(f"this tar cannot be read ({cause.strerror}).", where=tar) from cause
    try:
        stamp = Stamp.of(tar, file)
        rows, names = find_samples(members(file, stamp.size))
    except (OSError, ValueError) as cause:
        raise UserError(f"{cause}.", where=tar, do="Mend or remove this tar.") from cause
    finally:
        os.close(file)
    index = Index(stamp, len(rows), names)
    header = HEADER.pack(MAGIC, *stamp, index.samples, names)
    write_whole(index_path(tar), header + b"".join(ROW.pack(*row) for row in rows))
    return index


def find_samples(found: Iterable[Member]) -> tuple[list[list[int]], bytes]:
    """Group files by key, the name up to its first dot: rows of samples that have an image, and a hash of all names.

    Samples stay in the order of the tar. Of two files with one place in a sample the later counts, as in extraction.
    """
    rows: dict[bytes, list[int]] = {}
    names = blake2b(digest_size=16)
    for name, offset, size in found:
        names.update(name + b"\0")
        folder, slash, base = name.rpartition(b"/")
        stem, _, extension = base.partition(b".")
        column = COLUMNS.get(extension.lower())
        if stem and column is not None:
            rows.setdefault(folder + slash + stem, [0] * 6)[column : column + 2] = offset, size
    return [row for row in rows.values() if row[0]], names.digest()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under another name, then rename it.

    Raises:
        UserError: it cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(content)
        unfinished.replace(path)
    except OSError as cause:
        unfinished.unlink(missing_ok=True)
        do = f"Make room, or set {CACHE} to a folder that can be written."
        raise UserError(f"this file cannot be written ({cause.strerror}).", where=path, do=do) from cause
