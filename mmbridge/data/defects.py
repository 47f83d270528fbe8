"""Defects: what a check of the data can find wrong with a record, in words."""

from typing import NamedTuple

TINY = 32
"""Pixels; a picture with a shorter side shows nothing that training could learn."""
ASPECT = 4
"""Longer side over shorter; a square crop of a picture beyond it shows a fraction of what its caption says."""
COMMON, COMMON_SHARE = 10, 0.01
"""A caption is repeated very often if it comes at least so many times, and once per hundred records."""

SPOILT_IMAGES = {
    "missing": "image missing",
    "outside": "path leads out of the image folder",
    "empty_file": "image of zero bytes",
    "not_an_image": "content is no image",
    "truncated": "image cut short",
    "corrupt": "image corrupt",
    "too_large": "image of more than 89 megapixels",
    "unreadable": "cannot be read",
}
"""Defects for which training takes another record, and an evaluation stops."""
SPOILT_WORDS = {
    "no_caption": "no caption, or none after cleaning",
    "no_question": "question without words",
    "no_answer": "question without answers",
}
"""Defects for which training takes another record; evaluations may not need these words."""
ODDITIES = {
    "wrong_extension": "extension of another format",
    "tiny": f"side below {TINY} px",
    "enlarged": "smaller than the encoder's input",
    "stretched": f"longer than {ASPECT}:1",
    "one_colour": "one colour only",
    "grey": "grey",
    "long_caption": "caption is cut",
    "duplicate_image": "same image under another name",
    "duplicate_record": "same image and words again",
    "common_caption": "caption repeats very often",
}
"""What training takes as it is, and somebody should look at."""
DEFECTS = SPOILT_IMAGES | SPOILT_WORDS | ODDITIES


class Defect(NamedTuple):
    """Something wrong with a record."""

    kind: str
    """A key of `DEFECTS`."""
    detail: str = ""
    """Why or how much; empty if the kind says it all."""
