"""Headers: every format that tarfile writes is read as tarfile reads it; no header leads out of the file."""

import gzip
import io
import os
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmbridge_image_tars.headers import members

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
LONG = "folder/" * 20 + "x" * 90 + ".jpg"


def found(content: bytes, size: int | None = None) -> list[tuple[bytes, bytes]]:
    """Names and contents of the files in a tar; every place is inside it."""
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        result = list(members(file.fileno(), len(content) if size is None else size))
        for member in result:
            assert 512 <= member.offset <= member.offset + member.size <= len(content)
        return [(member.name, os.pread(file.fileno(), member.size, member.offset)) for member in result]


def header(name: bytes = b"1.jpg", size: bytes = b"00000000005\0", kind: bytes = b"0", sum_of: int = 0) -> bytes:
    """A ustar header with its true sum, plus `sum_of`."""
    block = bytearray(512)
    block[: len(name)], block[124:136], block[156:157] = name, size, kind
    block[257:265], block[148:156] = b"ustar\x0000", b" " * 8
    block[148:156] = b"%06o\0 " % (sum(block) + sum_of)
    return bytes(block)


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 512)


END = bytes(1024)


@pytest.mark.parametrize("name", FORMATS)
@given(
    files=st.lists(
        st.tuples(st.text("abcé日/._ ", min_size=1, max_size=90).map("f".__add__), st.binary(max_size=1500)), max_size=8
    )
)
@settings(max_examples=60, deadline=None)
def test_what_tarfile_writes(name: str, files: list[tuple[str, bytes]]) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=FORMATS[name]) as tar:
        for path, content in files:
            info = tarfile.TarInfo(path)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    expected = [(path.encode(), content) for path, content in files]
    assert found(buffer.getvalue()) == expected


@pytest.mark.parametrize("name", ["gnu", "pax"])
def test_long_names_and_strange_members(name: str) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=FORMATS[name], pax_headers={"comment": "of all"}) as tar:
        for kind in (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
            info = tarfile.TarInfo("other/" + "y" * 150)
            info.type, info.linkname, info.size = kind, "../../" * 40 + "etc/passwd", 0
            tar.addfile(info)
            info = tarfile.TarInfo(LONG)
            info.size = 5
            tar.addfile(info, io.BytesIO(b"photo"))
    assert found(buffer.getvalue()) == [(LONG.encode(), b"photo")] * 5


def test_ustar_prefix() -> None:
    path = "a" * 90 + "/" + "b" * 90 + ".jpg"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo(path))
    assert found(buffer.getvalue()) == [(path.encode(), b"")]


def test_pax_and_base_256_sizes() -> None:
    said = padded(b"9 size=5\n")
    pax = header(b"pax", b"%011o\0" % 9, b"x") + said
    assert found(pax + header(size=b"0" * 11 + b"\0") + padded(b"photo") + END) == [(b"1.jpg", b"photo")]
    big = b"\x80" + (5).to_bytes(11, "big")
    assert found(header(size=big) + padded(b"photo") + END) == [(b"1.jpg", b"photo")]


HOSTILE = {
    "negative size": (header(size=b"\xff" * 12), "is no size"),
    "negative octal": (header(size=b"-0000000005\0"), "is no size"),
    "underscores": (header(size=b"0000_000005\0"), "is no size"),
    "not octal": (header(size=b"00000000009\0"), "is no size"),
    "huge size": (header(size=b"\x80" + b"\xff" * 11), "cut short: the member at byte 0 needs"),
    "8 GiB": (header(size=b"77777777777\0"), "cut short: the member at byte 0 needs 8589934591"),
    "negative pax size": (header(size=b"%011o\0" % 11, kind=b"x") + padded(b"11 size=-5\n") + header(), "is no size"),
    "huge pax size": (
        header(size=b"%011o\0" % 5020, kind=b"x") + padded(b"5020 size=" + b"9" * 5009 + b"\n") + header(),
        "is no size",
    ),
    "pax length 0": (header(size=b"%011o\0" % 6, kind=b"x") + padded(b"0 a=b\n"), "pax header at byte 0"),
    "pax length beyond": (header(size=b"%011o\0" % 6, kind=b"x") + padded(b"9 a=b\n"), "pax header at byte 0"),
    "pax without length": (header(size=b"%011o\0" % 6, kind=b"x") + padded(b"aaaaa\n"), "pax header at byte 0"),
    "huge name": (header(size=b"\x80" + (2**21).to_bytes(11, "big"), kind=b"L") + bytes(2**21), "a name of 2097152"),
    "wrong sum": (header(sum_of=1), "it is no tar"),
    "damaged later": (header() + padded(b"photo") + header(sum_of=-2) + END, "no header at byte 1024"),
    "GNU sparse": (header(kind=b"S") + padded(b"photo") + END, "sparse file at byte 0"),
    "pax sparse": (
        header(size=b"%011o\0" % 24, kind=b"x") + padded(b"24 GNU.sparse.major=1.0\n") + header() + bytes(512),
        "sparse file at byte 1024",
    ),
    "gzip": (gzip.compress(header() + END) + bytes(600), r"compressed \(gzip\)"),
    "a photograph": (b"\xff\xd8\xff\xe0" + bytes(range(256)) * 4, "it is no tar"),
    "nothing": (b"", "ends at byte 0"),
    "no end mark": (header() + padded(b"photo"), "ends at byte 1024 without"),
    "half a header": (header() + padded(b"photo") + header()[:100], "ends at byte 1124 without"),
    "half a file": (header() + b"pho", "cut short: the member at byte 0 needs 5 bytes, the tar has 515"),
    "joined tars": (header() + padded(b"photo") + END + bytes(2**21), "end mark is at byte 1024 of"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_and_broken_tars_are_refused_in_words(case: str) -> None:
    content, message = HOSTILE[case]
    with pytest.raises(ValueError, match=message):
        found(content)


def test_names_are_labels(tmp_path: Path) -> None:
    names = [b"../../etc/passwd.jpg", b"/etc/shadow.jpg", b"C:\\x.jpg", b"\xff\xfe.jpg", b""]
    content = b"".join(header(name) + padded(b"photo") for name in names)
    assert found(content + END) == [(name, b"photo") for name in names]


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_any_damage_is_refused_or_read_inside_the_file(data: st.DataObject) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=data.draw(st.sampled_from(list(FORMATS.values())))) as tar:
        for name in ("1.jpg", "é" * 80 + ".jpg" if tar.format != tarfile.USTAR_FORMAT else "2.jpg"):
            info = tarfile.TarInfo(name)
            info.size = 700
            tar.addfile(info, io.BytesIO(bytes(700)))
    content = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, min(6000, len(content) - 1)))
        content[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    try:
        found(bytes(content[:cut]))
    except ValueError as error:
        assert "byte" in str(error) or "no tar" in str(error) or "compressed" in str(error)


@pytest.mark.parametrize("name", FORMATS)
def test_every_cut_is_noticed(name: str) -> None:
    """A tar that was cut anywhere before its end mark never looks whole."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=FORMATS[name]) as tar:
        for number in range(3):
            info = tarfile.TarInfo(f"{number}.jpg")
            info.size = 300
            tar.addfile(info, io.BytesIO(bytes([number + 1]) * 300))
    whole = buffer.getvalue()
    assert len(found(whole)) == 3
    for cut in range(0, 3 * 1024 + 1, 64):
        with pytest.raises(ValueError, match="cut short"):
            found(whole[:cut])
