"""Listing: what users give as images and texts, as lists."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from mmbridge_registry import UserError
from PIL.Image import Image
from torch import Tensor

from mmbridge.data.images import AnyImage, images_in

T = TypeVar("T")


@dataclass(frozen=True)
class Prepared:
    """An image that was decoded and transformed already."""

    pixels: Tensor
    """[3,H,W] float32."""


Picture = AnyImage | Prepared
Images = Iterable[Picture] | Path
"""Images, or one folder of them."""


def several(items: Iterable[T], what: str) -> Sequence[T]:
    """Give items as a list; refuse one where a list is meant: a lone path would be read letter by letter.

    Raises:
        UserError: it is one item.
    """
    _refuse_one(items, what)
    return items if isinstance(items, Sequence) else list(items)


def listed(images: Images) -> Sequence[Picture]:
    """Give images as a list: those in it, or those of one folder, by name.

    Raises:
        UserError: it is one image, or the folder has none.
    """
    images = one_by_one(images)
    return images if isinstance(images, Sequence) else list(images)


def one_by_one(images: Images) -> Iterable[Picture]:
    """Give images in order, without holding what an iterator will give; else as `listed`."""
    if isinstance(images, str | Path) and Path(images).is_dir():
        return images_in(images)
    _refuse_one(images, "images")
    return images  # type: ignore[return-value]


def repeated(text: str | Sequence[str], count: int) -> Sequence[str]:
    """Give one text per row: a lone one for all of them."""
    return [text] * count if isinstance(text, str) else text


def per_row(candidates: Sequence[str] | Sequence[Sequence[str]], rows: int) -> Sequence[Sequence[str]]:
    """Give the candidates of every row: a list of texts holds for all of them.

    Raises:
        UserError: a row has none, or lists and rows differ in number.
    """
    candidates = several(candidates, "candidates")
    lists = [candidates] * rows if all(isinstance(text, str) for text in candidates) else candidates
    if len(lists) != rows:
        raise UserError(f"there are candidates for {len(lists)} rows, and {rows} rows.", do="Give one list for all.")
    for row in lists:
        if not several(row, "candidates"):
            raise UserError("there are no candidates to choose from.", do="Give at least one text.")
    return lists  # type: ignore[return-value]


def _refuse_one(items: object, what: str) -> None:
    lone = isinstance(items, str | bytes | Path | Image | Prepared)
    if lone or (isinstance(items, np.ndarray) and items.ndim < 4):
        kind = type(items).__name__
        raise UserError(f"{what} are given as one {kind}, not as a list.", do="Write [...] around it.")
