"""CC3M, CC12M and SBU: lists of URLs, and what img2dataset brought of them."""

import json
from pathlib import Path

import pyarrow
import pytest
from mmbridge_registry import Dataset, UserError
from mmbridge_registry.testing import check_dataset
from mmbridge_web_captions import WebCaptionsOptions, build_web_captions
from pyarrow.parquet import write_table
from toys.annotation_files import PUBLISHED, records, write, write_images

PAIRS = [
    ("http://a/0.jpg", 'a "lone quote'),
    ("https://b/1.jpg?x=1,2", "commas, and café"),
    ("http://a/gone.jpg", "never came"),
    ("http://a/3.jpg", "see http://elsewhere/ for more"),
    ("http://c/4.jpg", "line\u2028separators and \x0c form feeds"),
]
ARRIVED = [pair for pair in PAIRS if "gone" not in pair[0]]
CC3M = "".join(f"{caption}\t{url}\n" for url, caption in PAIRS)
CC12M = "".join(f"{url}\t{caption}\n" for url, caption in PAIRS)
SBU = {"captions": [caption for _, caption in PAIRS], "image_urls": [url for url, _ in PAIRS], "user_ids": ["u"] * 5}
KEYS = ["000000000", "000000001", "000000002", "000010000", "000010001"]


def download(folder: Path, suffix: str = "jpg", parquet: bool = True) -> Path:
    """Lay files out as `img2dataset --output_format files` does; shards of 10,000, the third download failed."""
    rows = [
        {"url": url, "key": key, "status": "failed_to_download" if "gone" in url else "success", "caption": caption}
        for (url, caption), key in zip(PAIRS, KEYS, strict=True)
    ]
    for row in rows:
        shard = folder / row["key"][:5]
        if row["status"] == "success":
            write_images(shard, [f"{row['key']}.{suffix}"])
            write(shard / f"{row['key']}.json", json.dumps(row, indent=4))
            write(shard / f"{row['key']}.txt", row["caption"])
    for number in ("00000", "00001"):
        of_shard = [row for row in rows if row["key"].startswith(number)]
        write(folder / f"{number}_stats.json", {"count": len(of_shard), "successes": 2, "status_dict": {"success": 2}})
        if parquet:
            # Samples come in completion order.
            write_table(pyarrow.Table.from_pylist(of_shard[::-1]), folder / f"{number}.parquet")
    return folder


@pytest.fixture
def open_web(tmp_path: Path):
    def open_file(content: object = CC3M, images: Path | None = None, **options) -> Dataset:
        given = {"annotations": write(tmp_path / "list", content), "images": images or download(tmp_path / "out")}
        return build_web_captions(WebCaptionsOptions(**given, **options))

    return open_file


def said(dataset: Dataset) -> list[tuple[str, str]]:
    check_dataset(dataset)
    return [(record.name, *record.texts) for record in records(dataset)]


EXPECTED = [
    ("00000/000000000.jpg", 'a "lone quote'),
    ("00000/000000001.jpg", "commas, and café"),
    ("00001/000010000.jpg", "see http://elsewhere/ for more"),
    ("00001/000010001.jpg", "line\u2028separators and \x0c form feeds"),
]


@pytest.mark.parametrize(
    "content", [CC3M, CC12M, SBU, dict(reversed(SBU.items()))], ids=["cc3m", "cc12m", "sbu", "ubs"]
)
def test_captions_of_what_was_downloaded(content: object, open_web) -> None:
    assert said(open_web(content)) == EXPECTED


def test_without_parquets_the_json_beside_an_image_says_where_it_is_from(open_web, tmp_path: Path) -> None:
    assert said(open_web(images=download(tmp_path / "json", parquet=False))) == EXPECTED


def test_other_formats_of_images(open_web, tmp_path: Path) -> None:
    assert said(open_web(images=download(tmp_path / "webp", "webp")))[0][0] == "00000/000000000.webp"


@pytest.mark.parametrize("header", ["caption\turl\n", "\ufeffcaption\turl\r\n", "broken line\n"])
def test_a_header_for_img2dataset_or_a_broken_line_is_no_row(header: str, open_web) -> None:
    assert said(open_web(header + CC3M)) == EXPECTED
    assert said(open_web(CC3M.replace("\n", "\r\n"))) == EXPECTED


def test_bytes_that_are_no_text_are_told(open_web) -> None:
    with pytest.raises(UserError, match="not UTF-8"):
        open_web(b"caf\xe9\thttp://a/0.jpg\n")


def test_a_list_of_urls_and_paths(open_web, tmp_path: Path) -> None:
    images = write_images(tmp_path / "mine", ["x/0.jpg", "x/1.jpg"])
    mapping = write(tmp_path / "map.tsv", "http://c/4.jpg\tx/1.jpg\nhttp://a/0.jpg\tx/0.jpg\n")
    dataset = open_web(CC12M, images, downloaded=mapping)
    assert said(dataset) == [("x/0.jpg", 'a "lone quote'), ("x/1.jpg", PAIRS[4][1])]
    write(mapping, "http://a/0.jpg\tx/1.jpg\n")
    assert said(open_web(CC12M, images, downloaded=mapping)) == [("x/1.jpg", 'a "lone quote')]
    write(mapping, "x/1.jpg\thttp://a/0.jpg\n")
    with pytest.raises(UserError, match=r"map\.tsv:1: this is no URL and path"):
        open_web(CC12M, images, downloaded=mapping)


def test_paths_of_a_list_stay_below_the_root(open_web, tmp_path: Path) -> None:
    write_images(tmp_path, ["secret.jpg"])
    images = write_images(tmp_path / "mine", ["0.jpg"])
    mapping = write(tmp_path / "map.tsv", "http://a/0.jpg\t../secret.jpg\n")
    with pytest.raises(UserError, match="leads out"):
        open_web(images=images, downloaded=mapping)


def test_another_download_makes_another_table(open_web, tmp_path: Path) -> None:
    images = download(tmp_path / "out")
    assert len(open_web(images=images)) == 4
    rows = [{"url": url, "key": key, "status": "success"} for (url, _), key in zip(PAIRS, KEYS, strict=True)]
    write_images(images / "00000", ["000000002.jpg"])
    write_table(pyarrow.Table.from_pylist(rows[:3]), images / "00000.parquet")
    assert len(open_web(images=images)) == 5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (CC3M.replace("http", "HTTQ"), "no captions of URLs"),
        ("", "no captions of URLs"),
        ("http://other/1.jpg\tx\n", r"none of its 1 URLs is among the 4 downloaded"),
        ({"image_urls": ["http://a/0.jpg"], "captions": ["x", "y"]}, "1 image_urls and 2 captions"),
        ({"image_urls": ["http://a/0.jpg"]}, "no captions of URLs"),
        *((PUBLISHED[kind], r"no captions of URLs.* reads them") for kind in ("coco", "vqa questions", "lavis", "gqa")),
    ],
)
def test_other_files_are_refused(content: object, message: str, open_web) -> None:
    with pytest.raises(UserError, match=message):
        open_web(content)


def test_images_that_nobody_knows_the_source_of(open_web, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no record of downloaded images\. Give the output folder"):
        open_web(images=write_images(tmp_path / "mine", ["0.jpg"]))
    with pytest.raises(UserError, match="no such image folder"):
        open_web(images=tmp_path / "nowhere")
    broken = download(tmp_path / "broken")
    write(broken / "00000.parquet", "PAR1")
    with pytest.raises(UserError, match=r"00000\.parquet: this is no list of downloads"):
        open_web(images=broken)
