"""Images: from bytes, a path, an opened picture or an array to RGB, whole or not at all; and those in a folder."""

import re
import warnings
from io import BytesIO
from pathlib import Path
from threading import Lock

import numpy as np
from mmbridge_registry import UserError
from PIL import Image, ImageFile, UnidentifiedImageError

AnyImage = bytes | Path | str | Image.Image | np.ndarray

MAX_PIXELS = 89_478_485
"""Above this a picture is refused before it is decoded: Pillow's own limit, where Pillow only warns."""
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""Found by content, whatever a file is called. Not EPS and the like: Pillow runs other programs to read them."""
ENOUGH = 2
"""A JPEG is decoded smaller only if this many times the side that is needed is left: nearer to it, it shows."""
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
"""What is taken from a folder; a file that is named is read whatever it is called."""
URL = re.compile(r"(https?|ftp|s3|gs|file|data):", re.IGNORECASE)
PHONE = re.compile(rb"ftyp(heic|heix|hevc|heim|heis|mif1|msf1|avif|avis)")
"""What HEIC and AVIF files have at their fifth byte."""

# Not catch_warnings around each picture: filters belong to the process, and pictures are decoded in threads.
warnings.filterwarnings("ignore", module=r"PIL\.")
_LOADING = Lock()


def decode(image: AnyImage, needed_side: int | None = None) -> Image.Image:
    """Decode to an RGB picture; the first frame, not turned by EXIF, transparency dropped. Safe in threads.

    Arrays are [H,W], [H,W,1], [H,W,3] or [H,W,4], of uint8 or of floats from 0 to 1. Where a shorter side of
    `needed_side` pixels is all that is needed, a JPEG file is decoded at a half, a quarter or an eighth of its size if
    twice that side is left; None decodes whole.

    Raises:
        OSError: the file cannot be opened.
        ValueError: what it holds is no image, is cut short, or is larger than 89 megapixels; or it is a URL.
    """
    if isinstance(image, str | Path):
        image = _contents(image)
    try:
        picture = _open(image)
        _check_size(picture)
        if needed_side is not None:
            picture.draft(None, (ENOUGH * needed_side, ENOUGH * needed_side))
        return _to_rgb(picture)
    except Image.DecompressionBombError as error:
        raise ValueError(f"it has more than {MAX_PIXELS} pixels") from error
    except UnidentifiedImageError as error:
        raise ValueError(f"its content is none of {', '.join(FORMATS)}") from error
    except Exception as error:  # on hostile bytes decoders raise nearly anything, ZeroDivisionError and SyntaxError too
        own = type(error) is ValueError
        raise ValueError(str(error) if own else f"{type(error).__name__}: {error}") from error


def open_image(image: AnyImage) -> Image.Image:
    """Decode an image that a user named.

    Raises:
        UserError: it cannot be read; the message names it.
    """
    try:
        return decode(image)
    except (OSError, ValueError) as error:
        where = image if isinstance(image, str | Path) else f"an image given as {type(image).__name__}"
        do = "Give a whole JPEG, PNG or WebP."
        raise UserError(f"this image cannot be read ({error}).", where=where, do=do) from error


def images_in(folder: str | Path) -> list[Path]:
    """List the images of a folder, by name; not those in folders inside it.

    Raises:
        UserError: there are none.
    """
    files = sorted(file for file in Path(folder).iterdir() if file.suffix.lower() in SUFFIXES)
    if not files:
        raise UserError("there are no images in this folder.", where=folder)
    return files


def _contents(path: str | Path) -> bytes:
    if URL.match(str(path)) and not Path(path).exists():
        raise ValueError("it is a URL, and nothing is ever downloaded: give a file, or its bytes")
    if Path(path).is_dir():
        raise ValueError("it is a folder: give it alone and not in a list, or list its images")
    return Path(path).read_bytes()


def _open(image: bytes | Image.Image | np.ndarray) -> Image.Image:
    if isinstance(image, np.ndarray):
        return _of_array(image)
    if isinstance(image, Image.Image):
        return _loaded(image)
    if not isinstance(image, bytes):
        raise ValueError(f"an image is a path, bytes, a PIL picture or a numpy array, not a {type(image).__name__}")
    if not image:
        raise ValueError("the file is empty")
    if PHONE.match(image, 4):
        raise ValueError("it is HEIC or AVIF, which is not read: convert it")
    # Half a picture is no picture, even if some other library has told Pillow otherwise.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    return Image.open(BytesIO(image), formats=FORMATS)


def _of_array(array: np.ndarray) -> Image.Image:
    given = f"given: shape {list(array.shape)}, {array.dtype}"
    if array.ndim not in {2, 3} or (array.ndim == 3 and array.shape[2] not in {1, 3, 4}) or 0 in array.shape:
        raise ValueError(f"an array is [H,W] or [H,W,3], channels last; {given}")
    if array.dtype.kind == "f":
        if not (array.min() >= 0 and array.max() <= 1):
            raise ValueError(f"floats are from 0 to 1; {given} from {array.min():g} to {array.max():g}")
        array = (array * 255).round().astype(np.uint8)
    if array.dtype != np.uint8:
        raise ValueError(f"an array is of uint8, or of floats from 0 to 1; {given}")
    return Image.fromarray(np.ascontiguousarray(array[..., 0] if array.shape[2:] == (1,) else array))


def _loaded(picture: Image.Image) -> Image.Image:
    _check_size(picture)
    with _LOADING:  # a picture may stand in a list twice, and reads its file when it is first looked at
        picture.load()
    return picture


def _check_size(picture: Image.Image) -> None:
    if picture.width * picture.height > MAX_PIXELS:
        raise ValueError(f"{picture.width} x {picture.height} pixels are more than {MAX_PIXELS}")


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I;16"):
        # Pillow would clip 16 bits to 8, which turns a grey picture white.
        picture = picture.point(lambda value: value / 256, "L")
    return picture.convert("RGB")
