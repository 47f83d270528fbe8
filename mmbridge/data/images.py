"""Images: from bytes, a path or an opened picture to RGB, whole or not at all."""

import warnings
from io import BytesIO
from pathlib import Path

from mmbridge_registry import UserError
from PIL import Image, ImageFile

AnyImage = bytes | Path | str | Image.Image

MAX_PIXELS = 89_478_485
"""Above this a picture is refused before it is decoded: Pillow's own limit, where Pillow only warns."""
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""Found by content, whatever a file is called. Not EPS and the like: Pillow runs other programs to read them."""


def decode(image: AnyImage) -> Image.Image:
    """Decode to an RGB picture; the first frame, not turned by EXIF, transparency dropped.

    Raises:
        OSError: the file cannot be opened.
        ValueError: what it holds is no image, is cut short, or is larger than 89 megapixels.
    """
    if isinstance(image, str | Path):
        image = Path(image).read_bytes()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _to_rgb(_open(image) if isinstance(image, bytes) else image)
    except Exception as error:  # on hostile bytes decoders raise nearly anything, ZeroDivisionError and SyntaxError too
        raise ValueError(f"{type(error).__name__}: {error}") from error


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


def _open(encoded: bytes) -> Image.Image:
    if not encoded:
        raise ValueError("the file is empty")
    # Half a picture is no picture, even if some other library has told Pillow otherwise.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    return Image.open(BytesIO(encoded), formats=FORMATS)


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.width * picture.height > MAX_PIXELS:
        raise ValueError(f"{picture.width} x {picture.height} pixels are more than {MAX_PIXELS}")
    if picture.mode.startswith("I;16"):
        # Pillow would clip 16 bits to 8, which turns a grey picture white.
        picture = picture.point(lambda value: value / 256, "L")
    return picture.convert("RGB")
