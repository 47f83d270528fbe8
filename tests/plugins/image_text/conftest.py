import os
from pathlib import Path

import pytest
from mmbridge_image_text import ImageTextOptions, build_image_text
from mmbridge_registry import Dataset
from PIL import Image


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("MMBRIDGE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.jpg", "b.png", "sub/c, d.jpg"):
        Image.new("RGB", (8, 8)).save(folder / name)
    return folder


@pytest.fixture
def open_pairs(tmp_path: Path, images: Path):
    def open_file(content: str | bytes, name: str = "pairs", **options) -> Dataset:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else os.fsencode(content))
        given = {"annotations": path, "images": images, **options}
        return build_image_text(ImageTextOptions(**given))

    return open_file
