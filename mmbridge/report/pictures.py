"""Pictures inside the page, as data URIs."""

import base64
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

TINY = 128
"""Images up to this side are shown enlarged, pixel by pixel."""


@dataclass(frozen=True)
class Picture:
    """A picture that the page holds."""

    source: str
    """A data URI."""
    width: int
    height: int
    identity: str
    """The same for the same pixels."""

    @property
    def pixelated(self) -> bool:
        """Whether it is so small that its pixels are to be seen."""
        return max(self.width, self.height) <= TINY


def embedded(path: Path, largest: int) -> Picture | None:
    """Take an image into the page, its longest side at most `largest` pixels; None if it cannot be read."""
    try:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
    except OSError:
        return None
    identity = sha256(image.tobytes()).hexdigest()
    image.thumbnail((largest, largest))
    return Picture(_smaller(image), *image.size, identity)


def data_uri(image: Image.Image, kind: str, **options: Any) -> str:
    """Encode an image as a data URI; `kind` is Pillow's name of a format that browsers read."""
    file = BytesIO()
    image.save(file, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


def _smaller(image: Image.Image) -> str:
    """Drawings are smaller as PNG, photographs as JPEG; tiny images stay exact."""
    exact = data_uri(image, "PNG", optimize=True)
    return exact if max(image.size) <= TINY else min(exact, data_uri(image, "JPEG", quality=82), key=len)
