"""JPEGs decoded smaller for training: never below what is needed, near the whole picture, and never elsewhere."""

import io
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmbridge_registry import Record
from PIL import Image
from skimage import data

from mmbridge.data.images import decode
from mmbridge.data.order import Mixture
from mmbridge.data.samples import read_sample
from mmbridge.features.encoding import Pictures


@cache
def jpeg(width: int, height: int, photograph: str = "astronaut", mode: str = "RGB", **how) -> bytes:
    picture = Image.fromarray(getattr(data, photograph)()).resize((width, height), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    picture.convert(mode).save(buffer, "JPEG", quality=90, **how)
    return buffer.getvalue()


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 600), st.integers(1, 600), st.integers(1, 300))
def test_never_below_twice_what_is_needed_and_never_more_than_an_octave_above(width, height, needed) -> None:
    got = decode(jpeg(width, height), needed)
    shrunk = [divisor for divisor in (1, 2, 4, 8) if got.size == (-(-width // divisor), -(-height // divisor))]
    assert shrunk, "a half, a quarter or an eighth, and never another shape"
    assert shrunk[0] == 1 or min(got.size) >= 2 * needed
    assert shrunk[-1] == 8 or min(width, height) // (2 * shrunk[-1]) < 2 * needed
    if shrunk[0] == 1:
        assert got.tobytes() == decode(jpeg(width, height)).tobytes()


@pytest.mark.parametrize("photograph", ["astronaut", "chelsea", "coffee"])
@pytest.mark.parametrize("divisor", [2, 4, 8])
def test_near_the_whole_picture_once_resized(photograph: str, divisor: int) -> None:
    encoded = jpeg(divisor * 256, divisor * 192, photograph)
    reduced = decode(encoded, 96)
    assert reduced.size == (256, 192)
    one, two = (np.asarray(picture.resize((96, 96)), float) for picture in (reduced, decode(encoded)))
    assert 0 < np.abs(one - two).mean() < 0.6
    assert np.abs(one - two).max() <= 8


@pytest.mark.parametrize(
    ("mode", "how"), [("L", {}), ("CMYK", {}), ("RGB", {"progressive": True}), ("RGB", {"subsampling": 2})]
)
def test_every_kind_of_jpeg_becomes_a_small_rgb_picture(mode: str, how: dict) -> None:
    encoded = jpeg(512, 384, mode=mode, **how)
    got, whole = decode(encoded, 90), decode(encoded)
    assert (got.mode, got.size) == ("RGB", (256, 192))
    apart = np.abs(np.asarray(got.resize((64, 64)), float) - np.asarray(whole.resize((64, 64)), float))
    assert apart.mean() < 1


@pytest.mark.parametrize("cut", range(4, 100, 8))
def test_what_is_cut_short_is_refused_small_as_it_is_whole(cut: int) -> None:
    encoded = jpeg(512, 384)
    for needed in (None, 20):
        with pytest.raises(ValueError):
            decode(encoded[: len(encoded) * cut // 100], needed)


def test_size_is_judged_whole(monkeypatch) -> None:
    monkeypatch.setattr("mmbridge.data.images.MAX_PIXELS", 512 * 384 - 1)
    with pytest.raises(ValueError, match="more than"):
        decode(jpeg(512, 384), 20)


def test_other_formats_and_opened_pictures_stay_whole() -> None:
    picture = Image.open(io.BytesIO(jpeg(512, 384)))
    assert decode(picture, 20).size == (512, 384)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    assert decode(buffer.getvalue(), 20).size == (512, 384)


class One:
    """A data set of one photograph, and what a transform was given."""

    blocks = None

    def __len__(self) -> int:
        return 1

    def read(self, index: int) -> Record:
        return Record(jpeg(512, 384), ("a photograph",))


class Seen:
    """A transform that tells the size of what it is given."""

    def __call__(self, picture: Image.Image) -> torch.Tensor:
        return torch.tensor([*picture.size])


class SeenByOneThatSays(Seen):
    needed_side = 90


@pytest.mark.parametrize(("transform", "size"), [(Seen(), [512, 384]), (SeenByOneThatSays(), [256, 192])])
def test_training_and_its_feature_cache_read_what_the_transform_says_and_whole_without(transform, size, tmp_path):
    np.save(tmp_path / "images.npy", np.zeros(1, dtype=np.int64))
    sample, _ = read_sample(Mixture({"one": One()}, {"one": 1}, 0), transform, 0)  # type: ignore[dict-item]
    assert sample.pixels is not None
    assert sample.pixels.tolist() == size
    cached = Pictures(One(), tmp_path / "images.npy", transform, "one", 1)  # type: ignore[arg-type]
    assert cached.views(0)[0].tolist() == size
