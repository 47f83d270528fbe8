"""Visual Genome's regions, with images in two folders."""

from pathlib import Path

import pytest
from mmbridge_registry import Dataset, UserError
from mmbridge_registry.testing import check_dataset
from mmbridge_visual_genome import VisualGenomeOptions, build_visual_genome
from toys.annotation_files import PUBLISHED, records, write, write_images


def region(number: int, image: int, phrase: str, *box: int) -> dict:
    named = dict(zip(("x", "y", "width", "height"), box, strict=True))
    return {"region_id": number, **named, "image_id": image, "phrase": phrase}


FILE = [
    {"regions": [region(1382, 1, "the clock is green ", 421, 57, 82, 139), region(1383, 1, " ", 0, 0, 1, 1)], "id": 1},
    {"regions": [], "id": 2},
    {"regions": [region(7, 2417997, "a “cat”", 1, 2, 3, 4), region(8, 2417997, "a mat", 5, 6, 7, 8)], "id": 2417997},
]


@pytest.fixture
def open_regions(tmp_path: Path):
    def open_file(content: object = FILE, names=("VG_100K_2/1.jpg", "VG_100K/2417997.jpg"), **options) -> Dataset:
        folder = write_images(tmp_path / "genome", names)
        given = {"annotations": write(tmp_path / "a.json", content), "images": folder, **options}
        return build_visual_genome(VisualGenomeOptions(**given))

    return open_file


def test_images_of_both_folders_with_all_their_phrases(open_regions) -> None:
    dataset = open_regions()
    check_dataset(dataset)
    clock, cat = records(dataset)
    assert (clock.image_id, clock.texts) == (1, ("the clock is green",)), "a blank phrase is none"
    assert (cat.image_id, cat.texts) == (2417997, ("a “cat”", "a mat")), "an image without regions is no record"
    assert cat.facts == {"region_ids": [7, 8], "boxes": [[1, 2, 3, 4], [5, 6, 7, 8]]}
    assert (clock.image.parent.name, cat.image.parent.name) == ("VG_100K_2", "VG_100K")


def test_one_record_per_region(open_regions) -> None:
    dataset = open_regions(per="region")
    check_dataset(dataset)
    found = [(record.image_id, record.texts, record.facts["boxes"]) for record in records(dataset)]
    assert found == [
        (1, ("the clock is green",), [[421, 57, 82, 139]]),
        (2417997, ("a “cat”",), [[1, 2, 3, 4]]),
        (2417997, ("a mat",), [[5, 6, 7, 8]]),
    ]


def test_images_in_one_folder(open_regions) -> None:
    assert all(record.image.is_file() for record in records(open_regions(names=("1.jpg", "2417997.jpg"))))


def test_no_images(open_regions, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"0 of the first 2 images exist below it \(the first is '1\.jpg'\)"):
        open_regions(names=("VG_100K/9.jpg",))


@pytest.mark.parametrize("kind", sorted(PUBLISHED.keys() - {"genome"}))
def test_other_files_are_refused(kind: str, open_regions) -> None:
    with pytest.raises(UserError, match=r"no Visual Genome's regions.*reads them"):
        open_regions(PUBLISHED[kind])


def test_questions_of_visual_genome_are_no_regions(open_regions) -> None:
    with pytest.raises(UserError, match=r"there is no 'regions'.*Give .*region_descriptions"):
        open_regions([{"id": 1, "qas": [{"qa_id": 1, "question": "What?", "answer": "x"}]}])
