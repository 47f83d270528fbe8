"""Rows of LAVIS as a dataset."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmbridge_registry import UserError
from mmbridge_registry.annotated import AnnotatedImages, Annotation, ImageRoot, numbered_id, open_table
from mmbridge_registry.annotation_rows import Row, read_rows
from mmbridge_registry.published_files import misfit, recognise

from mmbridge_lavis_annotations import LavisAnnotationsOptions

VERSION = 1
"""Of what the reader yields; a higher one makes cached tables anew."""
OURS = "annotations of LAVIS"
LAYOUT = "objects with image and caption, or with image and question"
COCO_ID = re.compile(r"coco_0*(\d{1,18})")
COCO_IMAGE = re.compile(r".*COCO_\w+_(\d{12})\.jpg")
WORDS = ("caption", "question", "answer", "image")
"""Columns that have a place of their own in a record; all others are facts."""


def open_annotations(options: LavisAnnotationsOptions) -> AnnotatedImages:
    """Open the rows that the options name.

    Raises:
        UserError: a file or folder is missing, or the file is another.
    """
    table = open_table(
        options.annotations,
        f"lavis_annotations {VERSION} cut={options.cut}",
        lambda source: read_annotations(source, options.cut),
    )
    return AnnotatedImages(table, ImageRoot(options.images, options.allow_absolute))


def read_annotations(source: Path, cut: str = "") -> Iterator[Annotation]:
    """Read one annotation per row; `instance_id` is its running number as a text, `sample_id` its key if it has one.

    Raises:
        UserError: a row has no image, or the first says nothing of it; the message has the line.
    """
    if (known := recognise(source)) and known[0] not in (OURS, "rows of a table"):
        raise misfit(source, OURS, LAYOUT)
    for number, row in enumerate(read_rows(source)):
        image = row.values.get("image")
        if not isinstance(image, str) or not image.strip():
            raise UserError("this row has no image.", where=f"{source}:{row.line}", do=f"Give {LAYOUT}.")
        if number == 0 and not {"caption", "question", "img_id"} & row.values.keys():
            raise misfit(source, OURS, LAYOUT, f"the first row has only {', '.join(row.values)}")
        image = image.strip()
        yield Annotation(
            image=image.removeprefix(cut).lstrip("/") if cut and image.startswith(cut) else image,
            texts=row.several("caption"),
            question=row.values.get("question") or None,
            answers=row.several("answer"),
            image_id=_number(row.values, image),
            facts=_facts(row, number),
        )


def _facts(row: Row, number: int) -> dict[str, Any]:
    own = {"instance_id": str(number)} | ({} if row.key is None else {"sample_id": row.key})
    return own | {name: value for name, value in row.values.items() if name not in WORDS}


def _number(row: dict[str, Any], image: str) -> int | None:
    """Take COCO's own number out of `coco_522418` or `COCO_val2014_000000522418.jpg`; number other names."""
    name = row.get("image_id", row.get("img_id"))
    coco = COCO_IMAGE.fullmatch(image) if name in (None, "") else COCO_ID.fullmatch(str(name))
    return int(coco[1]) if coco else numbered_id(name)
