"""VQAv2 and OK-VQA as a dataset: a file of questions and one of answers."""

from collections.abc import Iterator
from pathlib import Path
from sys import intern
from typing import Any, NamedTuple

from mmbridge_registry import UserError
from mmbridge_registry.annotated import AnnotatedImages, Annotation, ImageRoot, open_table
from mmbridge_registry.json_stream import Piece, json_pieces
from mmbridge_registry.published_files import reading

from mmbridge_vqa import VqaOptions

VERSION = 1
"""Of what the reader yields; a higher one makes cached tables anew."""
QUESTIONS = "{questions: [{image_id, question, question_id}], data_subtype}"
ANSWERS = "{annotations: [{question_id, answers: [{answer}], answer_type, question_type}]}"


class Answered(NamedTuple):
    """What is known of one question; texts are shared, for hundreds of thousands of these are held at once."""

    answers: tuple[str, ...]
    raw_answers: tuple[str, ...] | None
    question_type: str
    answer_type: str
    multiple_choice_answer: str | None


def open_vqa(options: VqaOptions) -> AnnotatedImages:
    """Open the questions that the options name, and their answers if there are some.

    Raises:
        UserError: a file or folder is missing or another, or questions and answers do not belong together.
    """

    def read(source: Path) -> Iterator[Annotation]:
        return read_questions(source, options.answers)

    also = {"answers": options.answers} if options.answers else {}
    table = open_table(options.questions, f"vqa {VERSION} {sorted(also)}", read, option="questions", also=also)
    subset = image_subset(table[0]["image"])
    return AnnotatedImages(table, ImageRoot(options.images, among=(subset, "")))


def image_subset(image: str) -> str:
    """Give the folder of an image: `val2014` of `COCO_val2014_000000522418.jpg`."""
    return image.split("_")[1]


def read_questions(source: Path, answers: Path | None) -> Iterator[Annotation]:
    """Read one annotation per question.

    Raises:
        UserError: a file is another, or a question has no answers in the other file.
    """
    answered = _answers(answers) if answers else {}
    with reading(source, "VQA questions", QUESTIONS):
        subset = _image_subset(source)
        for piece in _under("questions", source):
            number = piece.value["question_id"]
            known = answered.pop(number, None)
            if answers and known is None:
                do = "Give the questions and the annotations of one split."
                raise UserError(f"question {number} of {source} has no answers in it.", where=answers, do=do)
            image = f"COCO_{subset}_{int(piece.value['image_id']):012d}.jpg"
            yield Annotation(
                image=image,
                question=piece.value["question"],
                answers=known.answers if known else (),
                image_id=int(piece.value["image_id"]),
                facts={"question_id": number} | (_facts(known) if known else {}),
            )


def _image_subset(source: Path) -> str:
    """Give the set of COCO images that the file's own head names; test-dev asks about images of test."""
    for piece in json_pieces(source):
        if piece.key == "data_subtype":
            return "test2015" if piece.value == "test-dev2015" else piece.value
    raise KeyError("data_subtype")


def _answers(source: Path) -> dict[int, Answered]:
    with reading(source, "VQA answers", ANSWERS):
        return {piece.value["question_id"]: _answered(piece.value) for piece in _under("annotations", source)}


def _under(key: str, source: Path) -> Iterator[Piece]:
    """Give the pieces under a key, of which there must be some."""
    none = True
    for piece in json_pieces(source):
        if piece.key == key:
            none = False
            yield piece
    if none:
        raise KeyError(key)


def _answered(row: dict[str, Any]) -> Answered:
    raw = [intern(answer["raw_answer"]) for answer in row["answers"] if "raw_answer" in answer]
    choice = row.get("multiple_choice_answer")
    return Answered(
        answers=tuple(intern(answer["answer"]) for answer in row["answers"]),
        raw_answers=tuple(raw) if raw else None,
        question_type=intern(row["question_type"]),
        answer_type=intern(row["answer_type"]),
        multiple_choice_answer=None if choice is None else intern(choice),
    )


def _facts(known: Answered) -> dict[str, Any]:
    fields = known._asdict()
    del fields["answers"]
    return {name: value for name, value in fields.items() if value is not None}
