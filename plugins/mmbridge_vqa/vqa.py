"""VQAv2 and OK-VQA as a dataset: a file of questions and one of answers."""

from collections.abc import Iterator
from pathlib import Path
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
    """What is known of one question."""

    answers: list[str]
    facts: dict[str, Any]


NOTHING = Answered([], {})


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
    answered = _Answers(answers) if answers else None
    with reading(source, "VQA questions", QUESTIONS):
        subset = _image_subset(source)
        for piece in _under("questions", source):
            row = piece.value
            number, image_id = row["question_id"], int(row["image_id"])
            known = answered.to(number, source) if answered else NOTHING
            yield Annotation(
                image=f"COCO_{subset}_{image_id:012d}.jpg",
                question=row["question"],
                answers=known.answers,
                image_id=image_id,
                facts={"question_id": number} | known.facts,
            )


class _Answers:
    """The answers of a file, read on as they are asked for: published files have the order of their questions."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self.rows = _read_answers(source)
        self.passed: dict[int, Answered] = {}
        """Those that were not asked for yet: few, or in another order all of them."""

    def to(self, question: int, asked_by: Path) -> Answered:
        """Give the answers to a question.

        Raises:
            UserError: there are none, or the file is another.
        """
        while question not in self.passed:
            number, answered = next(self.rows, (None, NOTHING))
            if number is None:
                do = "Give the questions and the annotations of one split."
                raise UserError(f"question {question} of {asked_by} has no answers in it.", where=self.source, do=do)
            self.passed[number] = answered
        return self.passed.pop(question)


def _image_subset(source: Path) -> str:
    """Give the set of COCO images that the file's own head names; test-dev asks about images of test."""
    for piece in json_pieces(source):
        if piece.key == "data_subtype":
            return "test2015" if piece.value == "test-dev2015" else piece.value
    raise KeyError("data_subtype")


def _read_answers(source: Path) -> Iterator[tuple[int, Answered]]:
    with reading(source, "VQA answers", ANSWERS):
        for piece in _under("annotations", source):
            yield piece.value["question_id"], _answered(piece.value)


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
    facts = {name: row[name] for name in ("question_type", "answer_type")}
    if (choice := row.get("multiple_choice_answer")) is not None:
        facts["multiple_choice_answer"] = choice
    if raw := [answer["raw_answer"] for answer in row["answers"] if "raw_answer" in answer]:
        facts["raw_answers"] = raw
    return Answered([answer["answer"] for answer in row["answers"]], facts)
