"""The annotation files that people have, told apart by their content: for the message when one is given for another."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from mmbridge_registry.errors import UserError
from mmbridge_registry.json_stream import NotJsonError, json_pieces

PIECES = 8
"""How many pieces under one key of a JSON file are looked at."""
HEAD = 4096
"""How many characters of another file are."""
LAYOUTS: tuple[tuple[str, str, Callable[[str | None, dict[str, Any]], bool]], ...] = (
    ("Karpathy's splits", "coco_captions (of Flickr30k: flickr30k)", lambda key, item: "sentences" in item),
    ("NoCaps images", "nocaps", lambda key, item: "open_images_id" in item),
    ("VQA questions", "vqa (as its questions)", lambda key, item: key == "questions" and "question_id" in item),
    ("VQA answers", "vqa (as its answers)", lambda key, item: key == "annotations" and "answers" in item),
    ("GQA questions", "gqa", lambda key, item: "imageId" in item),
    ("Visual Genome's regions", "visual_genome", lambda key, item: "regions" in item),
    ("COCO captions", "coco_captions", lambda key, item: key == "images" and "file_name" in item),
    ("COCO captions", "coco_captions", lambda key, item: key == "annotations" and "caption" in item),
    ("annotations of LAVIS", "lavis_annotations", lambda key, item: "image" in item and len(item) > 1),
)
"""What a file is, the dataset that reads it, and how a piece of it is known."""


@contextmanager
def reading(source: Path, wanted: str, layout: str) -> Iterator[None]:
    """Turn what a reader of JSON runs into in a file of another layout into an error that says what the file is.

    Raises:
        UserError: see `misfit`.
    """
    try:
        yield
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise misfit(source, wanted, layout, error) from error
    except NotJsonError as error:
        if _table(_head(source)) is None:
            raise
        raise misfit(source, wanted, layout) from error


def misfit(source: Path, wanted: str, layout: str, cause: str | Exception | None = None) -> UserError:
    """Make the error for a file that a reader cannot read: what was wanted, in which layout, and what it looks like."""
    if isinstance(cause, Exception):
        cause = f"there is no {cause}" if isinstance(cause, KeyError) else str(cause)
    what = f"these are no {wanted}" + (f" ({cause})" if cause else "")
    known = recognise(source)
    if known is None or known[0] == wanted:
        return UserError(f"{what}.", where=source, do=f"Give {layout}.")
    return UserError(f"{what}, but {known[0]}.", where=source, do=f"The dataset {known[1]} reads them.")


def recognise(source: Path) -> tuple[str, str] | None:
    """Say what a file is and which dataset reads it; None if it is none of those that are known."""
    try:
        head = _head(source)
        return _json(source) if head.lstrip()[:1] in ("{", "[") else _table(head)
    except UserError:
        return None


def _head(source: Path) -> str:
    with source.open(encoding="utf-8-sig", errors="replace") as file:
        return file.read(HEAD)


def _json(source: Path) -> tuple[str, str] | None:
    for key, value in _beginnings(source):
        if key == "image_urls" and isinstance(value, str):
            return "SBU captions", "web_captions"
        for what, reader, fits in LAYOUTS:
            if isinstance(value, dict) and fits(key, value):
                return what, reader
    return None


def _beginnings(source: Path) -> Iterator[tuple[str | None, Any]]:
    """Give the first pieces under some keys; a file may begin with a hundred licences."""
    seen: dict[str | None, int] = {}
    for piece in islice(json_pieces(source), 100):
        seen[piece.key] = seen.get(piece.key, 0) + 1
        if seen[piece.key] <= PIECES:
            yield piece.key, piece.value


def _table(head: str) -> tuple[str, str] | None:
    cells = [line.split("\t") for line in head.split("\n")]
    if any(cell.startswith("http") for line in cells for cell in line if len(line) == 2):
        return "captions of URLs (CC3M, CC12M)", "web_captions"
    header = {cell.strip().lower() for line in head.splitlines()[:1] for cell in line.replace("\t", ",").split(",")}
    return ("rows of a table", "image_text") if "image" in header else None
