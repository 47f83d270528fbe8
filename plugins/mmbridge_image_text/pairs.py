"""Images and texts as a dataset: from the rows of a file to annotations."""

import json
from collections.abc import Iterator
from pathlib import Path

from mmbridge_registry import UserError
from mmbridge_registry.annotated import AnnotatedImages, Annotation, ImageRoot, numbered_id, open_table
from mmbridge_registry.annotation_rows import Row, read_rows

from mmbridge_image_text import ImageTextOptions

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
            image_id=numbered_id(row.values.get(options.image_id_column)),
        )


def _lacks(source: Path, row: Row, what: str) -> UserError:
    has = ", ".join(row.values) or "nothing"
    return UserError(
        f"this row has no {what}; it has {has}.", where=f"{source}:{row.line}", do="Name the columns in the options."
    )


def _texts(row: Row, columns: tuple[str, ...]) -> list[str]:
    """Give the texts of the first of these columns that the row has."""
    return next((row.several(column) for column in columns if column in row.values), [])
