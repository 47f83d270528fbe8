"""Flickr30k in Karpathy's layout."""

from pathlib import Path

import pytest
from mmbridge_coco import Flickr30kOptions, build_flickr30k
from mmbridge_registry import Dataset, UserError
from mmbridge_registry.testing import check_dataset
from toys.annotation_files import PUBLISHED, records, write, write_images


def image(number: int, split: str, *captions: str) -> dict:
    sentences = [{"tokens": text.split(), "raw": text, "imgid": 0, "sentid": n} for n, text in enumerate(captions)]
    return {"sentids": [0], "imgid": 0, "sentences": sentences, "split": split, "filename": f"{number}.jpg"}


FILE = {
    "images": [
        image(1000092795, "train", "Two men.", "Two young guys."),
        image(10002456, "train", "A crane."),
        image(1007129816, "test", "A man in a hat."),
    ],
    "dataset": "flickr30k",
}


@pytest.fixture
def open_flickr(tmp_path: Path):
    def open_file(content: object = FILE, **options) -> Dataset:
        folder = tmp_path / "flickr"
        write_images(folder / "flickr30k-images", [f"{number}.jpg" for number in (1000092795, 10002456, 1007129816)])
        given = {"annotations": write(tmp_path / "a.json", content), "images": folder, "split": "train", **options}
        return build_flickr30k(Flickr30kOptions(**given))

    return open_file


def test_a_split(open_flickr) -> None:
    dataset = open_flickr()
    check_dataset(dataset)
    assert [record.texts for record in records(dataset)] == [("Two men.", "Two young guys."), ("A crane.",)]
    assert [record.image_id for record in records(dataset)] == [1000092795, 10002456], "imgid may be missing its use"
    assert [record.texts for record in records(open_flickr(split="test"))] == [("A man in a hat.",)]


def test_the_image_folder_itself_or_the_one_that_holds_it(open_flickr, tmp_path: Path) -> None:
    for folder in (tmp_path / "flickr", tmp_path / "flickr" / "flickr30k-images"):
        assert all(record.image.is_file() for record in records(open_flickr(images=folder)))


def test_one_record_per_caption(open_flickr) -> None:
    assert [record.texts for record in records(open_flickr(per="caption"))] == [
        ("Two men.",),
        ("Two young guys.",),
        ("A crane.",),
    ]


@pytest.mark.parametrize("kind", sorted(PUBLISHED.keys() - {"karpathy"}))
def test_other_files_are_refused(kind: str, open_flickr) -> None:
    with pytest.raises(UserError, match=r"no Flickr30k captions.* reads them"):
        open_flickr(PUBLISHED[kind])


def test_karpathys_coco_is_told_apart(open_flickr) -> None:
    coco = {"images": [{**image(1, "train", "x"), "filepath": "val2014", "cocoid": 1}], "dataset": "coco"}
    with pytest.raises(UserError, match=r"its images lie in folders.*coco_captions"):
        open_flickr(coco)
