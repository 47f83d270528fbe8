"""The three layouts of COCO captions, each read as one annotation per image."""

import re
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path, PurePosixPath
from typing import Any

from mmbridge_registry import UserError
from mmbridge_registry.annotated import Annotation
from mmbridge_registry.json_rows import json_rows

from mmbridge_coco import Split

LAYOUTS = "Give {images, annotations} (official), {images: [{sentences}]} (Karpathy) or objects with image and caption."
SPLITS = {"train": {"train", "restval"}, "val": {"val"}, "test": {"test"}}


def read_images(source: Path, split: Split | None) -> Iterator[Annotation]:
    """Read a caption file of any layout: one annotation per image, with all its captions in the file's order.

    Raises:
        UserError: the layout is unknown, a key is missing, or `split` is needed or unfit.
    """
    rows = json_rows(source)
    try:
        head = list(islice(rows, 1))
        whole = head[0] if head and isinstance(head[0], dict) and "images" in head[0] else {}
        if whole and "sentences" in (whole["images"] or [{}])[0]:
            yield from _karpathy(whole, split, source)
            return
        if split is not None:
            do = "Drop `split`, or give dataset_coco.json."
            raise UserError("this file holds one split, not several.", where=source, do=do)
        yield from _official(whole) if whole else _rows(chain(head, rows))
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        cause = f"there is no {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(f"these are no COCO captions ({cause}).", where=source, do=LAYOUTS) from error


def _karpathy(whole: dict[str, Any], split: Split | None, source: Path) -> Iterator[Annotation]:
    if split is None:
        raise UserError("this file holds several splits.", where=source, do="Set `split` to train, val or test.")
    for image in whole["images"]:
        if image["split"] in SPLITS[split]:
            path = PurePosixPath(image.get("filepath", ""), image["filename"])
            captions = [sentence["raw"] for sentence in image["sentences"]]
            yield Annotation(str(path), captions, image_id=image.get("cocoid", image["imgid"]))


def _official(whole: dict[str, Any]) -> Iterator[Annotation]:
    captions: dict[int, list[str]] = {}
    for annotation in whole["annotations"]:
        captions.setdefault(annotation["image_id"], []).append(annotation["caption"])
    for image in whole["images"]:
        if image["id"] in captions:
            yield Annotation(image["file_name"], captions[image["id"]], image_id=image["id"])


def _rows(values: Iterable[Any]) -> Iterator[Annotation]:
    """Group rows of one caption (training files) or several (validation and test files) by image."""
    images: dict[str, list[str]] = {}
    numbers: dict[str, int | None] = {}
    for row in _objects(values):
        caption = row["caption"]
        images.setdefault(row["image"], []).extend([caption] if isinstance(caption, str) else caption)
        numbers.setdefault(row["image"], _number(row))
    for image, captions in images.items():
        yield Annotation(image, captions, image_id=numbers[image])


def _objects(values: Iterable[Any]) -> Iterator[dict[str, Any]]:
    for value in values:
        if isinstance(value, list):
            yield from value
        elif "image" in value:
            yield value
        else:  # {id: {...}}
            yield from value.values()


def _number(row: dict[str, Any]) -> int | None:
    """Take the number out of `coco_522418`, or else out of `COCO_val2014_000000522418.jpg`."""
    if "image_id" in row:
        number = re.search(r"(\d+)$", str(row["image_id"]))
    else:
        number = re.fullmatch(r"(?:COCO_\w+_)?(\d{12})", PurePosixPath(row["image"]).stem)
    return int(number[1]) if number else None
