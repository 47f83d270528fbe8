"""A folder of pictures, a list of captions, and one record of every defect that a check of the data knows."""

import io
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SOUND = 48
"""Sound records in front of the others."""
EXPECTED = {
    "missing": ["gone.jpg"],
    "outside": ["record 49"],
    "empty_file": ["empty.jpg"],
    "not_an_image": ["page.jpg"],
    "truncated": ["cut.jpg"],
    "corrupt": ["corrupt.png"],
    "too_large": ["bomb.png"],
    "unreadable": ["folder.jpg"],
    "no_caption": ["silent.jpg", "mute.jpg"],
    "no_question": ["unasked.jpg"],
    "no_answer": ["unanswered.jpg"],
    "wrong_extension": ["really_png.jpg"],
    "tiny": ["tiny.jpg"],
    "enlarged": ["small.jpg"],
    "stretched": ["banner.jpg"],
    "one_colour": ["blank.jpg"],
    "grey": ["grey.jpg"],
    "long_caption": ["wordy.jpg"],
    "duplicate_image": ["copy.jpg", "copy_with_caption.jpg"],
    "duplicate_record": ["copy_with_caption.jpg", "3.jpg"],
    "common_caption": ["seen too often"],
}
"""Names of the records that have each defect; twelve have the caption that is common."""
SPOILT = 12
RECORDS = SOUND + 35


def picture(number: int, size: tuple[int, int] = (80, 60)) -> Image.Image:
    """A coloured picture like no other."""
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def jpeg(image: Image.Image, kind: str = "JPEG") -> bytes:
    """Encode a picture."""
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def write_list(file: Path, rows: list[dict[str, Any]]) -> None:
    """Write one JSON object per line."""
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def sound_folder(where: Path, count: int, first: int = 0) -> list[dict[str, Any]]:
    """Write sound pictures and give their rows; every one has a caption of its own."""
    where.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        (where / f"{number}.jpg").write_bytes(jpeg(picture(number)))
    return [{"image": f"{n}.jpg", "caption": f"Noise, number {n}."} for n in range(first, first + count)]


def spoilt_folder(where: Path) -> Path:
    """Write pictures, sound and spoilt, below `where/photos`; give the list of them."""
    photos = where / "photos"
    rows = sound_folder(photos, SOUND)
    files = {
        "empty.jpg": b"",
        "page.jpg": b"<html>Not found</html>" * 9,
        "cut.jpg": jpeg(picture(1000))[:-400],
        "corrupt.png": _corrupt_png(),
        "bomb.png": _bomb(),
        "really_png.jpg": jpeg(picture(1001), "PNG"),
        "tiny.jpg": jpeg(picture(1002, (40, 20))),
        "small.jpg": jpeg(picture(1003, (50, 40))),
        "banner.jpg": jpeg(picture(1004, (300, 60))),
        "blank.jpg": jpeg(Image.new("RGB", (64, 64), (30, 90, 200))),
        "grey.jpg": jpeg(picture(1005).convert("L")),
        "copy.jpg": (photos / "1.jpg").read_bytes(),
        "copy_with_caption.jpg": (photos / "2.jpg").read_bytes(),
        **{name: jpeg(picture(1010 + n)) for n, name in enumerate(("silent.jpg", "mute.jpg", "wordy.jpg"))},
        **{name: jpeg(picture(1020 + n)) for n, name in enumerate(("unasked.jpg", "unanswered.jpg", "asked.jpg"))},
        **{f"often{n}.jpg": jpeg(picture(1030 + n)) for n in range(12)},
    }
    for name, contents in files.items():
        (photos / name).write_bytes(contents)
    (photos / "folder.jpg").mkdir()
    said = {
        "silent.jpg": {"caption": " (...) "},
        "mute.jpg": {"caption": None},
        "wordy.jpg": {"caption": "word " * 60},
        "unasked.jpg": {"question": "!", "answer": "yes"},
        "unanswered.jpg": {"question": "Is it?", "answer": [" "]},
        "asked.jpg": {"question": "Is it?", "answer": ["yes", "no"]},
        "copy_with_caption.jpg": {"caption": rows[2]["caption"]},
        **{f"often{n}.jpg": {"caption": "Seen too often."} for n in range(12)},
    }
    listed = ["gone.jpg", "/elsewhere/x.jpg", *files, "folder.jpg"]
    rows += [{"image": name, **said.get(name, {"caption": f"This is {name}"})} for name in listed]
    rows.append(rows[3])
    write_list(where / "list.jsonl", rows)
    return where / "list.jsonl"


def _corrupt_png() -> bytes:
    """A PNG whose pixels are no compressed stream, under a right checksum."""
    sound = jpeg(picture(1006), "PNG")
    start = sound.index(b"IDAT")
    return sound[: start - 4] + _chunk(b"IDAT", b"\xff" * 200) + _chunk(b"IEND", b"")


def _bomb() -> bytes:
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", 12_000, 12_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + _chunk(b"IDAT", zlib.compress(bytes(100))) + _chunk(b"IEND", b"")


def _chunk(name: bytes, contents: bytes) -> bytes:
    return struct.pack(">I", len(contents)) + name + contents + struct.pack(">I", zlib.crc32(name + contents))
