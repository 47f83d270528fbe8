"""VQAv2 and OK-VQA: two files that belong together."""

from copy import deepcopy
from pathlib import Path

import pytest
from mmbridge_registry import Dataset, UserError
from mmbridge_registry.testing import check_dataset
from mmbridge_vqa import VqaOptions, build_vqa
from toys.annotation_files import PUBLISHED, VQA_ANSWERS, VQA_QUESTIONS, records, write, write_images

IMAGES = [f"val2014/COCO_val2014_{number:012d}.jpg" for number in (262148, 393225)]
TEN = ["down", "down", "at table", "skateboard", "down", "table", "down", "down", "down", "down"]


def answers_of(question: int, image: int, texts: list[str], **more: object) -> dict:
    answers = [{"answer": text, "answer_confidence": "maybe", "answer_id": n} for n, text in enumerate(texts, 1)]
    return {
        "question_type": "none of the above",
        "multiple_choice_answer": "down",
        "answers": answers,
        "image_id": image,
        "answer_type": "other",
        "question_id": question,
        **more,
    }


QUESTIONS = {
    **VQA_QUESTIONS,
    "questions": [
        {"image_id": 262148, "question": "Where is he looking?", "question_id": 262148000},
        {"image_id": 262148, "question": "Who?", "question_id": 262148001},
        {"image_id": 393225, "question": "How many?", "question_id": 393225000},
    ],
}
ANSWERS = {
    **VQA_ANSWERS,
    "annotations": [
        answers_of(393225000, 393225, ["2"] * 10, answer_type="number", question_type="how many"),
        answers_of(262148000, 262148, TEN),
        answers_of(262148001, 262148, ["he"] * 10),
    ],
}


@pytest.fixture
def open_vqa(tmp_path: Path):
    def written(name: str, content: object) -> Path:
        return content if isinstance(content, Path) else write(tmp_path / name, content)

    def open_files(questions: object = QUESTIONS, answers: object = ANSWERS, names=IMAGES, **options) -> Dataset:
        given = {
            "questions": written("q.json", questions),
            "answers": answers and written("a.json", answers),
            "images": write_images(tmp_path / "coco", names),
            **options,
        }
        return build_vqa(VqaOptions(**given))

    return open_files


def test_ten_answers_meet_their_question_in_any_order(open_vqa) -> None:
    dataset = open_vqa()
    check_dataset(dataset)
    looking, who, many = records(dataset)
    assert (looking.question, looking.answers) == ("Where is he looking?", tuple(TEN)), "as often as they were given"
    assert looking.facts == {
        "question_id": 262148000,
        "question_type": "none of the above",
        "answer_type": "other",
        "multiple_choice_answer": "down",
    }
    assert (many.answers, many.facts["answer_type"], many.facts["question_type"]) == (("2",) * 10, "number", "how many")
    assert looking.image_id == who.image_id == 262148
    assert looking.image.name == "COCO_val2014_000000262148.jpg"


def test_the_split_may_be_named_after_the_questions(open_vqa) -> None:
    assert records(open_vqa(dict(reversed(QUESTIONS.items()))))[0].name == "COCO_val2014_000000262148.jpg"


def test_cocos_folder_or_the_one_of_the_split(open_vqa, tmp_path: Path) -> None:
    for folder in (tmp_path / "coco", tmp_path / "coco" / "val2014"):
        assert all(record.image.is_file() for record in records(open_vqa(images=folder)))


@pytest.mark.parametrize("subset", ["test2015", "test-dev2015"])
def test_test_splits_have_no_answers_and_share_their_images(subset: str, open_vqa) -> None:
    names = [name.replace("val2014", "test2015") for name in IMAGES]
    dataset = open_vqa({**QUESTIONS, "data_subtype": subset}, None, names)
    check_dataset(dataset)
    asked = records(dataset)[0]
    assert (asked.answers, asked.facts) == ((), {"question_id": 262148000})
    assert asked.image.parts[-2:] == ("test2015", "COCO_test2015_000000262148.jpg")


def test_ok_vqa_keeps_raw_answers(open_vqa) -> None:
    answers = deepcopy(ANSWERS)
    for annotation in answers["annotations"]:
        del annotation["multiple_choice_answer"]
        for answer in annotation["answers"]:
            answer["raw_answer"] = answer["answer"] + "ing"
    looking = records(open_vqa(answers=answers))[0]
    assert looking.answers == tuple(TEN)
    assert looking.facts["raw_answers"] == [f"{text}ing" for text in TEN]
    assert "multiple_choice_answer" not in looking.facts


def test_halves_of_different_splits(open_vqa) -> None:
    with pytest.raises(UserError, match=r"a\.json: question 262148001 of .*q\.json has no answers.*one split"):
        open_vqa(answers={**ANSWERS, "annotations": ANSWERS["annotations"][:2]})


@pytest.mark.parametrize("half", ["questions", "answers"])
def test_a_missing_half_is_named(half: str, open_vqa, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"gone\.json: there is no such annotation file\. Correct `{half}`"):
        open_vqa(**{half: tmp_path / "gone.json"})


def test_other_answers_make_another_table(open_vqa) -> None:
    assert records(open_vqa())[0].answers == tuple(TEN)
    other = deepcopy(ANSWERS)
    other["annotations"][1]["answers"][0]["answer"] = "up"
    assert records(open_vqa(answers=other))[0].answers[0] == "up"
    assert records(open_vqa(answers=None))[0].answers == ()


@pytest.mark.parametrize("kind", sorted(PUBLISHED.keys() - {"vqa questions"}))
def test_other_files_are_no_questions(kind: str, open_vqa) -> None:
    with pytest.raises(UserError, match=r"q\.json.*no VQA questions.* reads them"):
        open_vqa(PUBLISHED[kind], None)


@pytest.mark.parametrize("kind", sorted(PUBLISHED.keys() - {"vqa answers"}))
def test_other_files_are_no_answers(kind: str, open_vqa) -> None:
    with pytest.raises(UserError, match=r"a\.json.*no VQA answers.* reads them"):
        open_vqa(answers=PUBLISHED[kind])


def test_halves_that_changed_places(open_vqa) -> None:
    with pytest.raises(UserError, match=r"q\.json: these are no VQA questions.*but VQA answers\. .*as its answers"):
        open_vqa(ANSWERS, QUESTIONS)
