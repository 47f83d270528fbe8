import json
from pathlib import Path

import pytest
from mmbridge_coco import CocoCaptionsOptions, build_coco_captions
from mmbridge_registry import Dataset
from PIL import Image

NAMES = {number: f"COCO_val2014_{number:012d}.jpg" for number in (522418, 391895, 7)}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("MMBRIDGE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three photographs in `val2014/`, as COCO unpacks them."""
    folder = tmp_path / "images" / "val2014"
    folder.mkdir(parents=True)
    for number, name in NAMES.items():
        Image.new("RGB", (8, 8), (number % 256, 0, 0)).save(folder / name)
    return folder.parent


@pytest.fixture
def open_captions(tmp_path: Path, images: Path):
    def open_file(content: object, name: str = "annotations.json", **options) -> Dataset:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        given = {"annotations": path, "images": images, **options}
        return build_coco_captions(CocoCaptionsOptions(**given))

    return open_file
