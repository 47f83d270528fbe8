"""Every layout as it is published, with its traps."""

import json

import pytest
from mmbridge_registry import Dataset, UserError
from mmbridge_registry.testing import check_dataset
from toys.annotation_files import PUBLISHED

A, B = "COCO_val2014_000000522418.jpg", "COCO_val2014_000000391895.jpg"

OFFICIAL = {
    "info": {"year": 2014, "version": "1.0"},
    "licenses": [{"id": 3, "name": "Attribution", "url": "http://example.org"}],
    "images": [
        {"license": 3, "file_name": B, "coco_url": "http://x/", "height": 360, "width": 640, "id": 391895},
        {"license": 3, "file_name": A, "coco_url": "http://x/", "height": 480, "width": 640, "id": 522418},
        {"license": 3, "file_name": "COCO_val2014_000000000007.jpg", "height": 1, "width": 1, "id": 7},
    ],
    "annotations": [
        {"image_id": 522418, "id": 681330, "caption": "A woman cutting a cake."},
        {"image_id": 391895, "id": 770337, "caption": "A man on a bike.\n"},
        {"image_id": 522418, "id": 681331, "caption": "Cake, “cut”"},
    ],
}


def sentences(*raw: str) -> list[dict]:
    return [{"tokens": text.lower().split(), "raw": text, "imgid": 0, "sentid": n} for n, text in enumerate(raw)]


def karpathy_image(number: int, split: str, *raw: str) -> dict:
    name = f"COCO_val2014_{number:012d}.jpg"
    where = {"filepath": "val2014", "filename": name, "cocoid": number}
    return {**where, "sentids": [0], "imgid": 0, "split": split, "sentences": sentences(*raw)}


KARPATHY = {
    "dataset": "coco",
    "images": [
        karpathy_image(391895, "test", "Bike one", "Bike two"),
        karpathy_image(522418, "restval", "Cake one", "Cake two"),
        karpathy_image(7, "train", "Seven"),
    ],
}
LIST_TRAIN = [
    {"caption": "A woman.", "image": f"val2014/{A}", "image_id": "coco_522418"},
    {"caption": "A bike.", "image": f"val2014/{B}", "image_id": "coco_391895"},
    {"caption": "A cake.", "image": f"val2014/{A}", "image_id": "coco_522418"},
]
LIST_VAL = [{"image": f"val2014/{A}", "caption": ["one", "two", "three"]}, {"image": f"val2014/{B}", "caption": ["x"]}]


def said(dataset: Dataset) -> list[tuple[int | None, tuple[str, ...]]]:
    check_dataset(dataset)
    records = [dataset[index] for index in range(len(dataset))]
    assert all(record.image.is_file() for record in records)
    return [(record.image_id, record.texts) for record in records]


@pytest.mark.parametrize("root", [lambda images: images / "val2014", lambda images: images], ids=["its", "COCO's"])
def test_official_file(root, open_captions, images) -> None:
    dataset = open_captions(OFFICIAL, images=root(images))
    assert said(dataset) == [
        (391895, ("A man on a bike.\n",)),
        (522418, ("A woman cutting a cake.", "Cake, “cut”")),
    ], "an image without captions is no record"


@pytest.mark.parametrize(
    ("split", "ids"), [("train", [522418, 7]), ("test", [391895])], ids=["train takes restval", "test"]
)
def test_karpathy_file(split: str, ids: list[int], open_captions) -> None:
    assert [number for number, _ in said(open_captions(KARPATHY, split=split))] == ids


def test_karpathy_captions_are_the_raw_ones(open_captions) -> None:
    assert said(open_captions(KARPATHY, split="test")) == [(391895, ("Bike one", "Bike two"))]


def test_flickr_in_karpathys_layout_has_no_folder_and_no_cocoid(open_captions, images) -> None:
    image = {"sentids": [0], "imgid": 4, "sentences": sentences("x"), "split": "val", "filename": A}
    dataset = open_captions({"images": [image], "dataset": "flickr30k"}, split="val", images=images / "val2014")
    assert said(dataset) == [(4, ("x",))]


@pytest.mark.parametrize("shape", ["list", "indented", "lines", "dict"])
def test_list_of_single_captions_is_grouped_by_image(shape: str, open_captions) -> None:
    content = {
        "list": json.dumps(LIST_TRAIN),
        "indented": json.dumps(LIST_TRAIN, indent=2),
        "lines": "\ufeff" + "\r\n".join(map(json.dumps, LIST_TRAIN)) + "\r\n\r\n",
        "dict": json.dumps(dict(enumerate(LIST_TRAIN))),
    }[shape]
    assert said(open_captions(content)) == [(522418, ("A woman.", "A cake.")), (391895, ("A bike.",))]


def test_list_of_caption_lists_takes_the_number_out_of_the_name(open_captions) -> None:
    assert said(open_captions(LIST_VAL)) == [(522418, ("one", "two", "three")), (391895, ("x",))]


def test_a_name_that_ends_in_the_letters_of_its_suffix_stays_whole(open_captions, images) -> None:
    (images / "jpg.gp.jpg").write_bytes((images / "val2014" / A).read_bytes())
    (images / "gp.jpg").write_bytes((images / "val2014" / A).read_bytes())
    dataset = open_captions([{"image": name, "caption": name} for name in ("jpg.gp.jpg", "gp.jpg")])
    records = said(dataset)
    assert [texts for _, texts in records] == [("jpg.gp.jpg",), ("gp.jpg",)]
    assert records[0][0] != records[1][0]


def test_short_numbers_in_names_do_not_make_two_images_one(open_captions, images) -> None:
    for folder in ("a", "b"):
        (images / folder).mkdir()
        (images / folder / "1.jpg").write_bytes((images / "val2014" / A).read_bytes())
    dataset = open_captions([{"image": f"{folder}/1.jpg", "caption": "x"} for folder in ("a", "b")])
    assert dataset[0].image_id != dataset[1].image_id


def test_layout_is_seen_from_the_content_not_from_the_path(open_captions) -> None:
    assert len(open_captions(LIST_TRAIN, name="dataset_coco.csv.captions_train2014")) == 2


def test_one_record_per_caption(open_captions) -> None:
    dataset = open_captions(LIST_TRAIN, per="caption")
    assert said(dataset) == [(522418, ("A woman.",)), (522418, ("A cake.",)), (391895, ("A bike.",))]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (KARPATHY, {}, "several splits.*Set `split`"),
        (OFFICIAL, {"split": "train"}, "one split.*Drop `split`"),
        (LIST_TRAIN, {"split": "val"}, "one split"),
        ([], {}, "no records"),
        ("", {}, "not JSON"),
        ("{", {}, "not JSON"),
        ([{"image": "a.jpg"}], {}, "no 'caption'.*objects with image and caption"),
        ({"images": [{"id": 1, "file_name": "a.jpg"}]}, {}, "no 'annotations'"),
        ({"a": 1}, {}, "no COCO captions"),
        ([3], {}, "a int, not an object"),
        ('{"image": "a", "caption": "b"}\n{"image": "a", "capt', {}, r"annotations\.json:2: this is not JSON"),
    ],
)
def test_a_file_of_another_kind_is_refused_by_name(content, options: dict, message: str, open_captions) -> None:
    with pytest.raises(UserError, match=message) as caught:
        open_captions(content, **options)
    assert "annotations.json" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", sorted(PUBLISHED.keys() - {"coco", "karpathy", "nocaps", "lavis"}))
def test_the_reader_of_another_file_is_named(kind: str, open_captions) -> None:
    with pytest.raises(UserError, match=r"no COCO captions.* reads them"):
        open_captions(PUBLISHED[kind])


@pytest.mark.parametrize("broken", ["truncated", "mangled"])
def test_a_broken_file_is_not_called_another(broken: str, open_captions) -> None:
    text = json.dumps(OFFICIAL, indent=1)
    with pytest.raises(UserError, match=r"annotations\.json:\d+: this is not JSON"):
        open_captions(text[:-30] if broken == "truncated" else text.replace("},", "}", 1))


def test_either_half_of_an_official_file_may_come_first(open_captions) -> None:
    assert said(open_captions(dict(reversed(OFFICIAL.items())))) == said(open_captions(OFFICIAL))


def test_another_root_is_told_with_what_was_looked_for(open_captions, images) -> None:
    with pytest.raises(UserError, match=rf"0 of the first 2 images exist below it \(the first is '{B}'\)"):
        open_captions(OFFICIAL, images=images.parent)
    with pytest.raises(UserError, match="no such image folder"):
        open_captions(OFFICIAL, images=images / "nowhere")
