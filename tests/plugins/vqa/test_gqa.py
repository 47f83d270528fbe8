"""GQA: an object of questions by id."""

import json
from pathlib import Path

import pytest
from mmbridge_registry import Dataset, UserError
from mmbridge_registry.testing import check_dataset
from mmbridge_vqa import GqaOptions, build_gqa
from toys.annotation_files import PUBLISHED, records, write, write_images

FILE = {
    "02930152": {
        "semantic": [{"operation": "select", "dependencies": [], "argument": "sky (2486325)"}],
        "entailed": ["02930160"],
        "equivalent": ["02930152"],
        "question": "Is the sky dark?",
        "imageId": "2354786",
        "isBalanced": True,
        "groups": {"global": None, "local": "06-sky_dark"},
        "answer": "yes",
        "semanticStr": "select: sky (2486325)->verify color: dark [0]",
        "annotations": {"answer": {}, "question": {"2": "2486325"}, "fullAnswer": {"2": "2486325"}},
        "types": {"detailed": "verifyAttr", "semantic": "attr", "structural": "verify"},
        "fullAnswer": "Yes, the sky is dark.",
    },
    "201307251": {"question": "What is it?", "imageId": "n161313", "isBalanced": True},
}


@pytest.fixture
def open_gqa(tmp_path: Path):
    def open_file(content: object = FILE) -> Dataset:
        folder = write_images(tmp_path / "images", ["2354786.jpg", "n161313.jpg"])
        return build_gqa(GqaOptions(questions=write(tmp_path / "q.json", content), images=folder))

    return open_file


@pytest.mark.parametrize("indent", [None, 1])
def test_questions(indent: int | None, open_gqa) -> None:
    dataset = open_gqa(json.dumps(FILE, indent=indent))
    check_dataset(dataset)
    sky, it = records(dataset)
    assert (sky.question, sky.answers, sky.image_id) == ("Is the sky dark?", ("yes",), 2354786)
    assert sky.facts == {
        "question_id": "02930152",
        "full_answer": "Yes, the sky is dark.",
        "types": FILE["02930152"]["types"],
    }
    assert (it.answers, it.facts, it.image.name) == ((), {"question_id": "201307251"}, "n161313.jpg"), "a test split"
    assert it.image_id not in (None, 161313)


@pytest.mark.parametrize("kind", sorted(PUBLISHED.keys() - {"gqa"}))
def test_other_files_are_refused(kind: str, open_gqa) -> None:
    with pytest.raises(UserError, match=r"no GQA questions.* reads them"):
        open_gqa(PUBLISHED[kind])


def test_the_file_is_named_as_questions(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Correct `questions`"):
        build_gqa(GqaOptions(questions=tmp_path / "gone.json", images=tmp_path))
