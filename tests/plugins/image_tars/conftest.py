import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from mmbridge_image_tars import ImageTarsOptions, build_image_tars
from mmbridge_registry import Dataset
from PIL import Image


def picture(number: int, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (24 + number % 5, 16), (number % 256, 80, 200)).save(buffer, kind)
    return buffer.getvalue()


def img2dataset(keys: Iterable[int]) -> list[tuple[str, bytes]]:
    """Members as img2dataset writes them at its defaults: jpg, json (pretty-printed), txt."""
    members = []
    for key in keys:
        said = {
            "caption": f"caption {key}",
            "url": f"https://a.example/{key}.jpg",
            "key": f"{key:09}",
            "status": "success",
            "error_message": None,
            "width": 24 + key % 5,
            "height": 16,
            "original_width": 640,
            "original_height": 480,
            "exif": "{}",
            "sha256": f"{key:064x}",
        }
        parts = {"jpg": picture(key), "json": json.dumps(said, indent=4).encode(), "txt": f"text {key}".encode()}
        members += [(f"{key:09}.{kind}", content) for kind, content in parts.items()]
    return members


def packed(members: Iterable[tuple[str, bytes]], layout: int = tarfile.USTAR_FORMAT, **pax: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=layout) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            info.pax_headers = dict(pax)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("MMBRIDGE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def write(tmp_path: Path):
    """Write a tar into the folder `tars`: of bytes, or of (name, content) pairs."""

    def write_tar(content: bytes | Iterable[tuple[str, bytes]], name: str = "00000.tar", **options) -> Path:
        path = tmp_path / "tars" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else packed(content, **options))
        return path

    return write_tar


@pytest.fixture
def open_tars(tmp_path: Path):
    def open_folder(**options) -> Dataset:
        return build_image_tars(ImageTarsOptions.model_validate({"tars": str(tmp_path / "tars"), **options}))

    return open_folder


@pytest.fixture
def make():
    """The makers of what stands in a tar."""
    return {"picture": picture, "img2dataset": img2dataset, "packed": packed}
