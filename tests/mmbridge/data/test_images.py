import io
import resource
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from mmbridge_registry import UserError
from PIL import Image, ImageFile

from mmbridge.data.images import decode, open_image


def png_claiming(width: int, height: int) -> bytes:
    """A few bytes that claim to be a large picture; all of it would be zeros."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_formats_are_told_by_content(kind: str, encode, tmp_path: Path) -> None:
    path = tmp_path / "called.jpg"
    path.write_bytes(encode(3, kind))
    reference = np.asarray(Image.open(path).convert("RGB"))
    for image in (path, str(path), path.read_bytes(), Image.open(path)):
        assert decode(image).mode == "RGB"
        assert np.array_equal(np.asarray(decode(image)), reference)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "YCbCr"])
def test_other_modes_become_rgb(mode: str) -> None:
    grey = Image.linear_gradient("L").convert(mode)
    assert decode(grey).mode == "RGB"


def test_sixteen_bit_grey_keeps_its_tones() -> None:
    deep = np.linspace(0, 65535, 256, dtype="uint16").reshape(16, 16)
    buffer = io.BytesIO()
    Image.fromarray(deep).save(buffer, "PNG")
    tones = np.asarray(decode(buffer.getvalue()))[..., 0].astype(int)
    assert np.abs(tones - deep // 256).max() <= 1


def test_exif_does_not_turn_the_picture(encode) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.open(io.BytesIO(encode(1))).save(buffer, "JPEG", exif=exif)
    assert decode(buffer.getvalue()).size == (40, 32)


def bad_images(encode) -> dict[str, bytes]:
    whole = encode(5, "JPEG", (200, 160))
    return {
        "empty": b"",
        "text": b"<html>404 Not Found</html>",
        "cut JPEG": whole[: len(whole) // 2],
        "cut PNG": encode(5, "PNG", (200, 160))[:-2000],
        "header only": whole[:20],
        "PNG checksum": encode(5, "PNG").replace(b"IHDR\0\0\0", b"IHDR\0\0\1"),
        "zeros": bytes(5000),
        "bomb": png_claiming(20_000, 20_000),
        "small bomb": png_claiming(10_000, 10_000),
        "program": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n",
    }


BAD = ["empty", "text", "cut JPEG", "cut PNG", "header only", "PNG checksum", "zeros", "bomb", "small bomb", "program"]


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")  # as it is outside of pytest
@pytest.mark.parametrize("name", BAD)
def test_half_a_picture_is_no_picture(name: str, encode, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)  # as some libraries set it for everybody
    image = bad_images(encode)[name]
    with pytest.raises(ValueError, match=r"\w"):
        decode(image)
    path = tmp_path / "bad.jpg"
    path.write_bytes(image)
    with pytest.raises(UserError, match=r"bad\.jpg: this image cannot be read"):
        open_image(path)


def test_a_bomb_is_refused_before_it_takes_memory(encode) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match="pixels"):
        decode(bad_images(encode)["bomb"])
    kilobytes = 1024 if sys.platform == "darwin" else 1
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / kilobytes < 100_000


@pytest.mark.parametrize("cut", range(0, 100, 7))
def test_any_cut_of_a_jpeg_is_an_error_or_the_whole_picture(cut: int, encode) -> None:
    whole = encode(2, size=(64, 48))
    with pytest.raises(ValueError):
        decode(whole[: len(whole) * cut // 100])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        decode(tmp_path / "no.jpg")
    with pytest.raises(UserError, match=r"no\.jpg.*No such file"):
        open_image(str(tmp_path / "no.jpg"))
    with pytest.raises(UserError, match="an image given as bytes"):
        open_image(b"")
