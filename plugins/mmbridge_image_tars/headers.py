"""Tar headers: where the files in a tar lie, found without reading what they hold.

ustar and pax (POSIX.1-2001) and GNU's long names. Nothing is extracted, so a name is a label and never a path; every
offset that is given lies inside the tar.
"""

import os
from collections.abc import Iterator
from typing import NamedTuple
from zlib import adler32

BLOCK = 512
WINDOW = 4096
"""Bytes per read: the header of a caption is often within one page of the next."""
LONGEST_EXTENSION = 2**20
"""Bytes of the longest pax or GNU header that is taken for one."""
LONGEST_TAIL = 2**20
"""Bytes that may follow the end mark: tar pads to whole records, of 10 KiB unless somebody asked for more."""
COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
FILES = frozenset({b"0", b"\0", b"7"})
WITHOUT_DATA = frozenset({b"1", b"2", b"3", b"4", b"5", b"6"})
"""Links, devices, folders, pipes: their size field means nothing."""
PAX, LONG_NAME = frozenset({b"x", b"X"}), b"L"


class Member(NamedTuple):
    """A regular file in a tar."""

    name: bytes
    offset: int
    """Of its first byte; its own header lies in the 512 bytes before."""
    size: int


class Window:
    """Reads headers through a window that moves forward over a file."""

    def __init__(self, file: int) -> None:
        self.file = file
        self.start, self.bytes = 0, b""

    def read(self, offset: int) -> bytes:
        """Give the block at an offset; it is shorter, or empty, at the end of the file."""
        begin = offset - self.start
        if not 0 <= begin <= len(self.bytes) - BLOCK:
            self.bytes, self.start, begin = os.pread(self.file, WINDOW, offset), offset, 0
        return self.bytes[begin : begin + BLOCK]


def members(file: int, size: int) -> Iterator[Member]:
    """Give the regular files of a tar, in its order; links, devices and folders are passed over.

    `file` is a file descriptor, `size` the length of the file in bytes.

    Raises:
        ValueError: it is no tar, is compressed, cut short or damaged, or holds a sparse file; with the offset.
    """
    window = Window(file)
    offset, extended = 0, {}
    while True:
        header = window.read(offset)
        if len(header) < BLOCK:
            raise ValueError(f"it is cut short: it ends at byte {size} without the mark that ends a tar")
        if not header.strip(b"\0"):
            return _check_tail(offset, size)
        check_sum(header, offset)
        kind, start = header[156:157], offset + BLOCK
        length = 0 if kind in WITHOUT_DATA else _number(extended.get(b"size"), header[124:136], offset)
        if start + length > size:
            raise ValueError(f"it is cut short: the member at byte {offset} needs {length} bytes, the tar has {size}")
        offset = start + -(-length // BLOCK) * BLOCK
        if kind in PAX or kind == LONG_NAME:
            extended |= _extension(file, kind, start, length)
        elif kind not in {b"g", b"K"}:
            if kind == b"S" or (extended and any(key.startswith(b"GNU.sparse") for key in extended)):
                raise ValueError(f"it holds a sparse file at byte {start - BLOCK}: pack it again without --sparse")
            if kind in FILES:
                yield Member(extended.get(b"path") or name_in(header), start, length)
            extended = {}


def check_sum(header: bytes, offset: int) -> None:
    """Check that a block is a header.

    Raises:
        ValueError: its sum is not the one that it holds.
    """
    # The low half of Adler-32 is one more than the sum of the bytes, modulo 65521, and comes at the speed of memory.
    total = (adler32(header) & 0xFFFF) - 1 - sum(header[148:156]) + 8 * ord(" ")
    written = header[148:156].strip(b"\0 ")
    if not written.isdigit() or (total - int(written, 8)) % 65521:
        raise ValueError(_no_header(header, offset))


def name_in(header: bytes) -> bytes:
    """Give the name that stands in a header itself, which long names do not."""
    name = header[:100].partition(b"\0")[0]
    prefix = header[345:500].partition(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _number(pax: bytes | None, field: bytes, offset: int) -> int:
    """Read a number: from a pax header, in octal digits, or in base 256 where they do not suffice."""
    if pax is None and field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.partition(b"\0")[0].strip() if pax is None else pax
    if not digits.isdigit() and (digits or pax is not None):
        raise ValueError(f"the header at byte {offset} is damaged: {digits[:20]!r} is no size")
    try:
        return int(digits or b"0", 8 if pax is None else 10)
    except ValueError as error:
        raise ValueError(f"the header at byte {offset} is damaged: {digits[:20]!r} is no size") from error


def _extension(file: int, kind: bytes, start: int, length: int) -> dict[bytes, bytes]:
    """Read what a pax or GNU header says of the member that follows it."""
    if length > LONGEST_EXTENSION:
        raise ValueError(f"the header at byte {start - BLOCK} is damaged: a name of {length} bytes")
    said = os.pread(file, length, start)
    return {b"path": said.partition(b"\0")[0]} if kind == LONG_NAME else _pax(said, start)


def _pax(said: bytes, start: int) -> dict[bytes, bytes]:
    """Read pax records, `<length> <key>=<value>\\n`, whose length counts the whole record."""
    records, begin = {}, 0
    while begin < len(said) and said[begin]:
        blank = said.find(b" ", begin, begin + 20)
        digits = said[begin : max(blank, begin)]
        end = begin + int(digits) if digits.isdigit() else begin
        if not 0 <= blank < end <= len(said) or said[end - 1] != ord("\n"):
            raise ValueError(f"the pax header at byte {start - BLOCK} is damaged")
        key, _, records[key] = said[blank + 1 : end - 1].partition(b"=")
        begin = end
    return records


def _check_tail(offset: int, size: int) -> None:
    if size - offset > LONGEST_TAIL:
        raise ValueError(f"its end mark is at byte {offset} of {size}: a download with holes, or tars that were joined")


def _no_header(header: bytes, offset: int) -> str:
    kind = next((name for magic, name in COMPRESSED.items() if header.startswith(magic)), None) if offset == 0 else None
    if kind:
        return f"it is compressed ({kind}): decompress it, for a compressed tar cannot be read from the middle"
    return "it is no tar" if offset == 0 else f"it is damaged: there is no header at byte {offset}"
