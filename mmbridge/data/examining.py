"""Examining one record: it is read, decoded and worded as in training, and looked at more closely."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from io import BytesIO
from pathlib import Path, PurePath

from mmbridge_registry import Dataset, Record
from mmbridge_registry.annotated import OutsideError
from PIL import Image, ImageChops, UnidentifiedImageError

from mmbridge.data.defects import ASPECT, TINY, Defect
from mmbridge.data.images import FORMATS, MAX_PIXELS, decode
from mmbridge.data.text import MARKS, MAX_WORDS, clean_caption, clean_question
from mmbridge.data.words import choose_words

FORMAT_OF = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".gif": "GIF", ".bmp": "BMP", ".tif": "TIFF",
    ".tiff": "TIFF",
}  # fmt: skip
LOOKED_AT = 64
"""Rows and columns of pixels, spread over the picture, by which colour is told from grey."""
NOISE = 8
"""Difference of two channels, or of two pixels, that JPEG alone can make of none."""


@dataclass(frozen=True)
class Limits:
    """What records are measured by."""

    side: int | None = None
    """The encoder's image size in pixels, if it is known without building it."""
    words: int = MAX_WORDS
    """Longest caption, in words, of which nothing is cut for certain."""


@dataclass
class Examined:
    """What was found out about one record. Digests are of 63 bits."""

    index: int
    name: str
    spoilt: Defect | None = None
    """Why training takes another record: the first reason that it would meet."""
    oddities: list[Defect] = field(default_factory=list)
    image: int | None = None
    """Digest of the encoded image; None for a spoilt one."""
    image_id: int | None = None
    record: int | None = None
    """Digest of image and words together."""
    captions: list[int] = field(default_factory=list)
    """Digests of the captions, cleaned; empty ones are left out."""
    lengths: list[int] = field(default_factory=list)
    """Words of each of these captions, before any are cut."""


def examine(dataset: Dataset, index: int, limits: Limits) -> Examined:
    """Read a record and say what is wrong with it."""
    found = Examined(index, f"record {index}")
    try:
        record = dataset.read(index)
    except (OSError, ValueError) as error:
        found.spoilt = Defect(_unread(error), str(error))
        return found
    found.name, found.image_id = record.name or found.name, record.image_id
    _examine_captions(found, record, limits)
    _examine_image(found, record, limits)
    if found.spoilt is None:
        found.spoilt = _spoilt_words(record)
    return found


def _examine_captions(found: Examined, record: Record, limits: Limits) -> None:
    for caption in record.texts:
        if cleaned := clean_caption(caption):
            found.captions.append(digest(cleaned.encode(errors="replace")))
            found.lengths.append(len(MARKS.sub(" ", caption).split()))
    longest = max(found.lengths, default=0)
    if longest > limits.words:
        found.oddities.append(Defect("long_caption", f"{longest} words"))


def _examine_image(found: Examined, record: Record, limits: Limits) -> None:
    contents = _contents(record.image)
    try:
        picture = decode(contents)
    except (OSError, ValueError) as error:
        kind = _undecoded(contents, error) if isinstance(contents, bytes) else _unread(error)
        found.spoilt = Defect(kind, str(error))
        return
    found.image = digest(contents if isinstance(contents, bytes) else _pixels(picture))
    said = repr((found.image, found.captions, record.question, record.answers))
    found.record = digest(said.encode(errors="replace"))
    if isinstance(contents, bytes):
        suffix = (record.image if isinstance(record.image, Path) else PurePath(record.name)).suffix.lower()
        found.oddities += _misnamed(suffix, contents)
    found.oddities += _oddities(picture, limits)


def _contents(image: bytes | Path | Image.Image) -> bytes | Path | Image.Image:
    """Read a file once, for decoding and for its digest; one that cannot be read is left for `decode` to refuse."""
    try:
        return image.read_bytes() if isinstance(image, Path) else image
    except OSError:
        return image


def digest(contents: bytes) -> int:
    """Give 63 bits of what a content is."""
    return int.from_bytes(blake2b(contents, digest_size=8).digest(), "big") >> 1


def _pixels(picture: Image.Image) -> bytes:
    return f"{picture.mode} {picture.size} ".encode() + picture.tobytes()


def _unread(error: Exception) -> str:
    if isinstance(error, OutsideError):
        return "outside"
    return "missing" if isinstance(error, FileNotFoundError) else "unreadable"


def _undecoded(contents: bytes, error: Exception) -> str:
    if not contents:
        return "empty_file"
    try:
        with Image.open(BytesIO(contents), formats=FORMATS) as header:
            too_large = header.width * header.height > MAX_PIXELS
    except UnidentifiedImageError:
        return "not_an_image"
    except Exception as bad:  # on hostile bytes decoders raise nearly anything
        return "too_large" if isinstance(bad, Image.DecompressionBombError) else "corrupt"
    cut = "truncated" in str(error).lower()
    return "too_large" if too_large else "truncated" if cut else "corrupt"


def _spoilt_words(record: Record) -> Defect | None:
    try:
        choose_words(record, seed=0)
    except ValueError as error:
        if record.question is None:
            return Defect("no_caption", str(error))
        return Defect("no_answer" if clean_question(record.question).strip() else "no_question", str(error))
    return None


def _misnamed(suffix: str, contents: bytes) -> Iterator[Defect]:
    with Image.open(BytesIO(contents), formats=FORMATS) as header:
        # MPO: what some cameras write, a JPEG with more pictures behind it.
        actual = "JPEG" if header.format == "MPO" else header.format
    if FORMAT_OF.get(suffix, actual) != actual:
        yield Defect("wrong_extension", f"it is {actual}")


def _oddities(picture: Image.Image, limits: Limits) -> Iterator[Defect]:
    short, long = sorted(picture.size)
    size = f"{picture.width} x {picture.height}"
    if short < TINY:
        yield Defect("tiny", size)
    elif limits.side and short < limits.side:
        yield Defect("enlarged", size)
    if long > ASPECT * short:
        yield Defect("stretched", size)
    sides = min(picture.width, LOOKED_AT), min(picture.height, LOOKED_AT)
    some = picture.resize(sides, Image.Resampling.NEAREST)
    # To look at every pixel takes half as long as to decode them: only if those few are alike.
    if _is_even(some) and _is_even(picture):
        yield Defect("one_colour")
    elif _is_grey(some):
        yield Defect("grey")


def _is_even(picture: Image.Image) -> bool:
    return all(high - low <= NOISE for low, high in picture.getextrema())  # type: ignore[misc]


def _is_grey(picture: Image.Image) -> bool:
    red, green, blue = picture.split()
    apart = (ImageChops.difference(green, other).getextrema()[1] for other in (red, blue))
    return all(most <= NOISE for most in apart)  # type: ignore[operator]
