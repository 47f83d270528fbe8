"""NoCaps: COCO's layout with domains."""

from pathlib import Path

import pytest
from mmbridge_coco import NocapsOptions, build_nocaps
from mmbridge_registry import Dataset, UserError
from mmbridge_registry.testing import check_dataset
from toys.annotation_files import PUBLISHED, records, write, write_images

DOMAINS = ("in-domain", "near-domain", "out-domain")
IMAGES = [
    {
        "id": number,
        "file_name": f"{number}f.jpg",
        "open_images_id": f"{number}f",
        "coco_url": "https://s3.amazonaws.com/nocaps/val/0.jpg",
        "domain": domain,
        "width": 8,
    }
    for number, domain in enumerate(DOMAINS)
]
CAPTIONS = [{"id": n, "image_id": n % 3, "caption": f"caption {n // 3} of {n % 3}"} for n in range(30)]


@pytest.fixture
def open_nocaps(tmp_path: Path):
    def open_file(content: object) -> Dataset:
        folder = write_images(tmp_path / "val", [f"{number}f.jpg" for number in range(3)])
        return build_nocaps(NocapsOptions(annotations=write(tmp_path / "a.json", content), images=folder))

    return open_file


@pytest.mark.parametrize("annotations_first", [False, True])
def test_ten_captions_and_the_domain(annotations_first: bool, open_nocaps) -> None:
    halves = {"images": IMAGES, "licenses": [{"id": 1}], "annotations": CAPTIONS}
    dataset = open_nocaps(dict(reversed(halves.items())) if annotations_first else halves)
    check_dataset(dataset)
    found = records(dataset)
    assert [record.facts["domain"] for record in found] == list(DOMAINS)
    assert [record.facts["open_images_id"] for record in found] == ["0f", "1f", "2f"]
    assert found[1].texts == tuple(f"caption {n} of 1" for n in range(10))
    assert [record.image_id for record in found] == [0, 1, 2]


def test_the_test_list_has_neither_captions_nor_domains(open_nocaps) -> None:
    images = [{key: value for key, value in image.items() if key != "domain"} for image in IMAGES]
    dataset = open_nocaps({"images": images, "info": {}})
    check_dataset(dataset)
    assert [(record.texts, record.facts["domain"]) for record in records(dataset)] == [((), None)] * 3


@pytest.mark.parametrize("kind", sorted(PUBLISHED.keys() - {"nocaps"}))
def test_other_files_are_refused(kind: str, open_nocaps) -> None:
    with pytest.raises(UserError, match=r"no NoCaps images.* reads them"):
        open_nocaps(PUBLISHED[kind])
