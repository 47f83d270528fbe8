"""The pre-training data as the shipped YAML stands: published annotations, and tars that img2dataset wrote."""

import io
import json
import tarfile
from pathlib import Path

import pytest
from mmbridge_registry.discovery import discover
from PIL import Image
from toys.annotation_files import GENOME, KARPATHY, write, write_images

from mmbridge.annotation_files import missing
from mmbridge.config import load_recipe
from mmbridge.data.opening import data_sets, open_one

WEB = ("sbu", "cc3m", "cc12m", "laion")


def img2dataset(folder: Path, captions: dict[str, object]) -> None:
    """Write a shard of one sample as img2dataset does: 00000.tar, and a parquet and a json of counts beside it."""
    folder.mkdir(parents=True)
    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "JPEG")
    said = {"url": "http://a/1.jpg", "key": "000000000", "status": "success", **captions}
    parts = {"jpg": picture.getvalue(), "json": json.dumps(said, indent=4).encode(), "txt": b"from the page"}
    with tarfile.open(folder / "00000.tar", "w") as tar:
        for kind, content in parts.items():
            member = tarfile.TarInfo(f"000000000.{kind}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    (folder / "00000.parquet").write_bytes(b"PAR1")
    write(folder / "00000_stats.json", {"count": 2, "successes": 1})


def test_every_data_set_opens_where_the_yaml_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MMBRIDGE_CACHE", str(tmp_path / "cache"))
    found = discover()
    recipe = load_recipe("blip2_flant5xl", [], found)
    fetched = {str(one.path): one.source for one in missing(recipe, found.catalog)}
    assert set(fetched) == {"data/coco/dataset_coco.json", "data/visual_genome/region_descriptions.json"}
    assert all(fetched.values()), "mmbridge fetch gets them"

    image = KARPATHY["images"][0] | {"filepath": "val2014", "filename": "1.jpg", "cocoid": 1}
    images = [image | {"split": split} for split in ("restval", "val")]
    write(Path("data/coco/dataset_coco.json"), {"images": images, "dataset": "coco"})
    write(Path("data/visual_genome/region_descriptions.json"), GENOME)
    write_images(Path("data"), ["coco/val2014/1.jpg", "visual_genome/VG_100K/1.jpg"])
    for name in WEB:
        img2dataset(Path("data", name), {"caption": f"a {name}"})
    img2dataset(Path("data/filtered"), {"caption": "web", "captions": ["first", "second"], "scores": [0.1, 0.3]})

    opened = {one.name: open_one(one, found.catalog) for one in data_sets(recipe)}
    assert {name: one.failure for name, one in opened.items() if one.failure} == {}
    both = "evaluate.retrieval, evaluate.caption_likelihood"
    assert set(opened) == {f"data.{name}" for name in (*WEB, "coco", "visual_genome")} | {both}
    texts = {name: one.dataset[0].texts for name, one in opened.items() if one.dataset}
    assert texts["data.coco"] == ("A dog.",) and texts["data.visual_genome"] == ("a dog",)
    assert [texts[f"data.{name}"] for name in WEB] == [(f"a {name}",) for name in WEB]

    recipe = load_recipe("blip2_flant5xl", ["data.laion.tars=data/filtered"], found)
    laion = next(one for one in data_sets(recipe) if one.name == "data.laion")
    filtered = open_one(laion, found.catalog).dataset
    assert filtered is not None and filtered[0].texts == ("first", "second"), "CapFilt's two: one is drawn per step"
