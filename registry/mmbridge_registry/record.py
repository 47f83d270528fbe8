"""Records: what a dataset gives, before any tensor exists."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Record:
    """One image and what is said of it."""

    image: "bytes | Path | Image"
    """An encoded image, the path of one, or a drawn one."""
    texts: tuple[str, ...] = ()
    """Captions of the image; training draws one of them per step."""
    question: str | None = None
    """A question about the image; `answers` belong to it."""
    answers: tuple[str, ...] = ()
    """Answers to the question; training draws one."""
    image_id: int | None = None
    """Same number, same image, within this dataset; None says that no two records share an image."""
    name: str = ""
    """What messages call this record: a file name, an annotation id."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What only this dataset's own evaluations read (a scene's attributes, a domain)."""
