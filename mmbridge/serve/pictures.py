"""Pictures: images that come inside a request. Nothing is ever fetched."""

import re
from base64 import b64decode

from mmbridge.data.images import decode
from mmbridge.serve.refusal import Refusal

DATA = re.compile(r"data:[\w.+/-]*(?:;[\w.+-]+=[\w.+-]+)*;base64,", re.IGNORECASE)
"""What a data URI begins with. The type in it is not believed; the content decides."""

HEAD = 200
"""Characters in which a data URI must have come to its content; a pattern is not to search megabytes."""


def is_picture(text: str) -> bool:
    """Whether a text is a data URI."""
    return text[:5].lower() == "data:"


def picture(url: str) -> bytes:
    """Give the encoded image of a data URI, which is known to be readable.

    It is decoded here only to know that, since whoever sends half an image must be told so before the model is asked.
    The model decodes it again when its turn comes: decoded images take a hundred times more room to wait in.

    Raises:
        Refusal: it is no data URI, no base64, no image, cut short, or has too many pixels.
    """
    start = DATA.match(url, 0, HEAD)
    if start is None:
        what = "Images are sent inside the request, as `data:image/png;base64,...`; nothing is fetched."
        raise Refusal(400, what, "invalid_image_url")
    try:
        encoded = b64decode(url[start.end() :], validate=True)
        decode(encoded)
    except ValueError as error:
        raise Refusal(400, f"An image cannot be read: {error}.", "invalid_image") from error
    return encoded
