"""GQA as a dataset."""

from collections.abc import Iterator
from pathlib import Path

from mmbridge_registry.annotated import AnnotatedImages, Annotation, ImageRoot, numbered_id, open_table
from mmbridge_registry.json_stream import json_pieces
from mmbridge_registry.published_files import reading

from mmbridge_vqa import GqaOptions

VERSION = 1
"""Of what the reader yields; a higher one makes cached tables anew."""
LAYOUT = "{question_id: {imageId, question, answer, fullAnswer, types}}"


def open_gqa(options: GqaOptions) -> AnnotatedImages:
    """Open the questions that the options name.

    Raises:
        UserError: a file or folder is missing, or the file is another.
    """
    table = open_table(options.questions, f"gqa {VERSION}", read_questions, option="questions")
    return AnnotatedImages(table, ImageRoot(options.images))


def read_questions(source: Path) -> Iterator[Annotation]:
    """Read one annotation per question; one without an answer is of a test split.

    Raises:
        UserError: the file is another.
    """
    with reading(source, "GQA questions", LAYOUT):
        for piece in json_pieces(source):
            row = piece.value
            facts = {"question_id": piece.key, "full_answer": row.get("fullAnswer"), "types": row.get("types")}
            yield Annotation(
                image=f"{row['imageId']}.jpg",
                question=row["question"],
                answers=[row["answer"]] if "answer" in row else [],
                image_id=numbered_id(row["imageId"]),
                facts={name: value for name, value in facts.items() if value is not None},
            )
