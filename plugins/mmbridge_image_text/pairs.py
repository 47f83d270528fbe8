"""Images and texts as a dataset: from the rows of a file to annotations."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmbridge_registry import UserError
from mmbridge_registry.annotated import AnnotatedImages, Annotation, ImageRoot, numbered, open_table

from mmbridge_image_text import ImageTextOptions
from mmbridge_image_text.rows import Row, read_rows

VERSION = 1
"""Of what the reader yields; a higher one makes cached tables anew."""
CAPTIONS = ("caption", "text", "captions")
ANSWERS = ("answer", "answers")


def open_pairs(options: ImageTextOptions) -> AnnotatedImages:
    """Open the file that the options name.

    Raises:
        UserError: a file or folder is missing, or the file is not what the options say.
    """
    columns = options.model_dump(include={name for name in ImageTextOptions.model_fields if name.endswith("_column")})
    layout = f"image_text {VERSION} {json.dumps(columns, sort_keys=True)}"
    table = open_table(options.annotations, layout, lambda source: read_pairs(source, options))
    return AnnotatedImages(table, ImageRoot(options.images, options.allow_absolute))


def read_pairs(source: Path, options: ImageTextOptions) -> Iterator[Annotation]:
    """Read one annotation per row.

    Raises:
        UserError: a row has no image, or the first has neither a caption nor a question; the message has the line.
    """
    captions = (options.caption_column,) if options.caption_column else CAPTIONS
    answers = (options.answer_column,) if options.answer_column else ANSWERS
    needed = (*captions, options.question_column)
    for number, row in enumerate(read_rows(source)):
        image = row.values.get(options.image_column)
        if not isinstance(image, str) or not image.strip():
            raise _lacks(source, row, f"a text under '{options.image_column}'")
        if number == 0 and not any(column in row.values for column in needed):
            raise _lacks(source, row, " or ".join(f"'{column}'" for column in needed))
        yield Annotation(
            image=image.strip(),
            texts=_texts(row, captions),
            question=row.values.get(options.question_column) or None,
            answers=_texts(row, answers),
            image_id=_number(row.values.get(options.image_id_column)),
        )


def _lacks(source: Path, row: Row, what: str) -> UserError:
    has = ", ".join(row.values) or "nothing"
    return UserError(
        f"this row has no {what}; it has {has}.", where=f"{source}:{row.line}", do="Name the columns in the options."
    )


def _texts(row: Row, columns: tuple[str, ...]) -> list[str]:
    """Give the texts of the first of these columns that the row has: one, or a list of them (in CSV as JSON)."""
    value: Any = next((row.values[column] for column in columns if column in row.values), None)
    if isinstance(value, str) and row.flat and value.startswith("["):
        value = _parsed(value)
    return [str(text) for text in (value if isinstance(value, list) else [value]) if text not in (None, "")]


def _parsed(cell: str) -> Any:
    try:
        return json.loads(cell)
    except ValueError:
        return cell


def _number(image_id: Any) -> int | None:
    """Keep a number, turn any other name into one."""
    if image_id in (None, ""):
        return None
    name = str(image_id)
    return int(name) if name.isdecimal() and len(name) < 19 else numbered(name)
