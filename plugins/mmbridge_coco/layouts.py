"""The layouts of captioned photographs, each read as one annotation per image."""

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

from mmbridge_registry import UserError
from mmbridge_registry.annotated import Annotation
from mmbridge_registry.annotation_rows import read_rows
from mmbridge_registry.json_stream import Piece, json_pieces
from mmbridge_registry.published_files import misfit, reading, recognise

from mmbridge_coco import Split

COCO = "{images, annotations} (official), {images: [{sentences}]} (Karpathy), or objects with image and caption"
NOCAPS = "{images: [{id, file_name, open_images_id, domain}], annotations: [{image_id, caption}]}"
FLICKR30K = "{images: [{filename, split, sentences}]}, whose images lie in no folders"
SPLITS = {"train": {"train", "restval"}, "val": {"val"}, "test": {"test"}}


def read_coco(source: Path, split: Split | None) -> Iterator[Annotation]:
    """Read a caption file of any layout: one annotation per image, with all its captions in the file's order.

    Raises:
        UserError: the layout is unknown, a key is missing, or `split` is needed or unfit.
    """
    pieces = json_pieces(source)
    with reading(source, "COCO captions", COCO):
        first = next((piece for piece in pieces if piece.key in (None, "images") or _is_row(piece.value)), None)
        if first is None and recognise(source):
            raise misfit(source, "COCO captions", COCO)
        karpathy = first is not None and first.key == "images" and "sentences" in first.value
        _check_split(split, karpathy, source)
        if first is not None and karpathy:
            yield from _karpathy(chain([first], pieces), split)
        else:
            yield from _rows(source) if first is None or first.key != "images" else _official(source)


def read_flickr30k(source: Path, split: Split) -> Iterator[Annotation]:
    """Read a split of Karpathy's Flickr30k; an image's number is that in its name.

    Raises:
        UserError: the file is another.
    """
    with reading(source, "Flickr30k captions", FLICKR30K):
        for image in _karpathy(json_pieces(source), split):
            if "/" in image.image:
                raise misfit(source, "Flickr30k captions", FLICKR30K, "its images lie in folders")
            yield Annotation(image.image, image.texts, image_id=int(PurePosixPath(image.image).stem))


def read_nocaps(source: Path) -> Iterator[Annotation]:
    """Read NoCaps; facts are `domain` and `open_images_id`. Images without captions (the test list) are records too.

    Raises:
        UserError: the file is another.
    """
    with reading(source, "NoCaps images", NOCAPS):
        images, captions = _halves(source)
        for image in images:
            facts = {"domain": image.get("domain"), "open_images_id": image["open_images_id"]}
            yield Annotation(image["file_name"], captions.get(image["id"], ()), image_id=image["id"], facts=facts)


def _is_row(value: Any) -> bool:
    return isinstance(value, dict) and "image" in value


def _check_split(split: Split | None, several: bool, source: Path) -> None:
    if split is None and several:
        raise UserError("this file holds several splits.", where=source, do="Set `split` to train, val or test.")
    if split is not None and not several:
        do = "Drop `split`, or give dataset_coco.json."
        raise UserError("this file holds one split, not several.", where=source, do=do)


def _karpathy(pieces: Iterator[Piece], split: Split | None) -> Iterator[Annotation]:
    for piece in pieces:
        if piece.key == "images" and piece.value["split"] in SPLITS[split or "train"]:
            image = piece.value
            path = PurePosixPath(image.get("filepath", ""), image["filename"])
            captions = [sentence["raw"] for sentence in image["sentences"]]
            yield Annotation(str(path), captions, image_id=image.get("cocoid", image["imgid"]))
        elif piece.key not in ("images", "dataset"):
            raise KeyError("images")


def _official(source: Path) -> Iterator[Annotation]:
    images, captions = _halves(source)
    if not captions:
        raise KeyError("annotations")
    for image in images:
        if image["id"] in captions:
            yield Annotation(image["file_name"], captions[image["id"]], image_id=image["id"])


def _halves(source: Path) -> tuple[list[dict[str, Any]], dict[int, list[str]]]:
    """Read images, and captions by image: either half may come first."""
    images: list[dict[str, Any]] = []
    captions: dict[int, list[str]] = {}
    for piece in json_pieces(source):
        if piece.key == "images":
            kept = ("id", "file_name", "open_images_id", "domain")
            images.append({name: piece.value[name] for name in kept if name in piece.value})
        elif piece.key == "annotations":
            captions.setdefault(piece.value["image_id"], []).append(piece.value["caption"])
    if not images:
        raise KeyError("images")
    return images, captions


def _rows(source: Path) -> Iterator[Annotation]:
    """Group rows of one caption (training files) or several (validation and test files) by image."""
    images: dict[str, list[str]] = {}
    numbers: dict[str, int | None] = {}
    for row in read_rows(source):
        image = row.values["image"]
        if "caption" not in row.values:
            raise KeyError("caption")
        images.setdefault(image, []).extend(row.several("caption"))
        numbers.setdefault(image, _number(row.values))
    for image, captions in images.items():
        yield Annotation(image, captions, image_id=numbers[image])


def _number(row: dict[str, Any]) -> int | None:
    """Take the number out of `coco_522418`, or else out of `COCO_val2014_000000522418.jpg`."""
    if "image_id" in row:
        number = re.search(r"(\d+)$", str(row["image_id"]))
    else:
        number = re.fullmatch(r"(?:COCO_\w+_)?(\d{12})", PurePosixPath(row["image"]).stem)
    return int(number[1]) if number else None
