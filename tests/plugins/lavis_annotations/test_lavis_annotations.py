"""Every row of LAVIS' annotation files, in every form that LAVIS takes, with what LAVIS gets wrong."""

import csv
import io
import json
from pathlib import Path

import pytest
from mmbridge_lavis_annotations import LavisAnnotationsOptions, build_lavis_annotations
from mmbridge_registry import Dataset, Record, UserError
from mmbridge_registry.testing import check_dataset
from toys.annotation_files import PUBLISHED, records, write, write_images

COCO = "val2014/COCO_val2014_000000522418.jpg"
NAMES = [COCO, "flickr30k-images/1000092795.jpg", "image/2.jpg", "a.jpg", "val/0013ea2087020901.jpg"]
TEN = ["down"] * 9 + ["table"]


@pytest.fixture
def open_lavis(tmp_path: Path):
    def open_file(content: object, name: str = "a.json", **options) -> Dataset:
        given = {"annotations": write(tmp_path / name, content), "images": write_images(tmp_path / "root", NAMES)}
        dataset = build_lavis_annotations(LavisAnnotationsOptions(**given, **options))
        check_dataset(dataset)
        return dataset

    return open_file


@pytest.fixture
def first(open_lavis):
    def open_row(row: dict) -> Record:
        return records(open_lavis([row]))[0]

    return open_row


def test_coco_train(open_lavis) -> None:
    rows = [{"caption": text, "image": COCO, "image_id": "coco_522418"} for text in ("A woman.", "A cake.")]
    one, other = records(open_lavis(rows))
    assert (one.texts, other.texts) == (("A woman.",), ("A cake.",)), "one record per row"
    assert one.image_id == other.image_id == 522418
    assert [record.facts["instance_id"] for record in (one, other)] == ["0", "1"]
    assert one.facts["image_id"] == "coco_522418"


def test_coco_val_has_five_captions_and_its_number_in_the_name(first) -> None:
    record = first({"image": COCO, "caption": ["one", "two", "three", "four", "five"]})
    assert (record.texts, record.image_id) == (("one", "two", "three", "four", "five"), 522418)


def test_numbers_of_other_sets_are_no_numbers_of_coco(open_lavis) -> None:
    rows = [{"image": COCO, "caption": "x", "image_id": name} for name in ("coco_7", "vg_7", "flickr_7", 7)]
    numbers = [record.image_id for record in records(open_lavis(rows))]
    assert (numbers[0], numbers[3], len(set(numbers))) == (7, 7, 3)


def test_nocaps(open_lavis) -> None:
    rows = [{"image": "val/0013ea2087020901.jpg", "img_id": 0}, {"image": "a.jpg", "img_id": 1, "caption": ["x", "y"]}]
    assert [(record.image_id, record.texts) for record in records(open_lavis(rows))] == [(0, ()), (1, ("x", "y"))]


def test_vqa_train_and_its_ten_answers(first) -> None:
    record = first({"question_id": 9, "question": "Where?", "answer": TEN, "image": COCO, "dataset": "vqa"})
    assert (record.question, record.answers, record.image_id) == ("Where?", tuple(TEN), 522418)
    assert record.facts == {"instance_id": "0", "question_id": 9, "dataset": "vqa"}


def test_questions_without_answers(first) -> None:
    record = first({"image": "a.jpg", "question": "Where?", "question_id": 9})
    assert (record.question, record.answers, record.facts["question_id"]) == ("Where?", (), 9)


def test_gqa_and_visual_genomes_questions(first) -> None:
    record = first({"image": "a.jpg", "question": "Is it?", "question_id": "02930152", "answer": "yes"})
    assert (record.answers, record.facts["question_id"]) == (("yes",), "02930152")
    assert first({"image": "image/2.jpg", "question": "Who?", "answer": "he", "dataset": "vg"}).answers == ("he",)


ROWS = [{"image": "a.jpg", "caption": 'red, "green"'}, {"image": "image/2.jpg", "caption": "two words"}]


def table(dialect: str) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, ["image", "caption"], dialect=dialect)
    writer.writeheader()
    writer.writerows(ROWS)
    return text.getvalue()


FORMS = {
    "a.json": json.dumps(ROWS, indent=1),
    "a.jsonl": "\n".join(map(json.dumps, ROWS)),
    "a.csv": table("excel"),
    "a.tsv": table("excel-tab"),
    "dict.json": json.dumps({f"id{n}": row for n, row in enumerate(ROWS)}),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["{}", "cc.json.jsonl.csv.tsv", "csv/of.tsv/{}.txt"])
def test_every_form_under_any_name(form: str, name: str, open_lavis) -> None:
    found = records(open_lavis(FORMS[form], name.format(form)))
    assert [(record.name, *record.texts) for record in found] == [(row["image"], row["caption"]) for row in ROWS]
    assert [record.facts["instance_id"] for record in found] == ["0", "1"]
    assert [record.facts.get("sample_id") for record in found] == (["id0", "id1"] if "dict" in form else [None, None])


def test_somebody_elses_absolute_paths(open_lavis, tmp_path: Path) -> None:
    rows = [{"image": "/export/home/vg/image/2.jpg", "caption": "x", "image_id": 2}]
    with pytest.raises(UserError, match=r"'/export/home/vg/image/2\.jpg' leads out of the image folder"):
        open_lavis(rows)
    for cut in ("/export/home/vg", "/export/home/vg/"):
        assert records(open_lavis(rows, cut=cut))[0].image == tmp_path / "root" / "image" / "2.jpg"
    with pytest.raises(UserError, match="leads out"):
        open_lavis([{"image": "/x/../../etc/passwd", "caption": "x"}], cut="/x")


def test_rows_that_are_none(open_lavis) -> None:
    with pytest.raises(UserError, match="no image"):
        open_lavis({"id0": ROWS[0], "id1": "a text that LAVIS would keep under data"})
    with pytest.raises(UserError, match="first row has only image, title"):
        open_lavis([{"image": "a.jpg", "title": "x"}])
    with pytest.raises(UserError, match=r"a\.json:2: this row has no image"):
        open_lavis('{"image": "a.jpg", "caption": "x"}\n{"caption": "x"}')


@pytest.mark.parametrize("kind", sorted(PUBLISHED.keys() - {"lavis"}))
def test_other_files_are_refused(kind: str, open_lavis) -> None:
    with pytest.raises(UserError, match=r"no annotations of LAVIS.* reads them"):
        open_lavis(PUBLISHED[kind])
