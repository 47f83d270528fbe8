"""Where queries look, as files: the maps are the bridge's own, the pictures are what the encoder was shown."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmbridge_clip.transform import image_transform
from mmbridge_registry.discovery import discover
from PIL import Image
from toys.answering import Deaf, Eye
from toys.blip2_parts import build

from mmbridge.attending import as_seen, farthest, maps, write_attention
from mmbridge.inference.reading import Reading
from mmbridge.model import BridgedModel

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The shipped tiny ViT and a random Q-Former of three layers, of which two look."""
    torch.manual_seed(0)
    encoder = build("vision_encoder", {"name": "clip_vit"}, weights=str(discover().catalog.shipped("tiny/vit")))
    sizes = {"queries": 9, "layers": 3, "width": 16, "heads": 2, "intermediate": 24, "init_std": 0.5}
    sizes |= {"vocabulary": 30, "positions": 40}
    return BridgedModel(encoder, build("bridge", {"name": "qformer", **sizes}, {"encoder_width": encoder.width}))


def scene(number, side=90):
    draw = np.random.default_rng(number)
    return Image.fromarray(draw.integers(0, 255, (side, side + 40, 3), dtype=np.uint8))


def test_files_hold_what_the_bridge_says_of_the_pictures_shown(model, tmp_path):
    pictures = [scene(number) for number in (0, 1, 0, 2, 3, 4, 5, 6, 7)]
    (tmp_path / "attention").mkdir()
    (tmp_path / "attention" / "old.png").touch()
    model.train()
    write_attention(model, pictures, tmp_path / "attention")
    assert model.bridge.training, "it is left as it was"
    told = json.loads((tmp_path / "attention" / "attention.json").read_text())
    assert [one["image"] for one in told] == [f"{number:03d}.png" for number in range(6)]
    assert {file.name for file in (tmp_path / "attention").iterdir()} == {
        "attention.json",
        *(one["image"] for one in told),
    }
    distinct = [pictures[place] for place in (0, 1, 3, 4, 5, 6)]
    reading = Reading(model)
    side = model.vision_encoder.image_size
    with reading.answering():
        for one, picture in zip(told, distinct, strict=True):
            shown = Image.open(tmp_path / "attention" / one["image"])
            resized = picture.resize((side, side), Image.Resampling.BICUBIC)
            assert np.array_equal(np.asarray(shown), np.asarray(resized))
            weights = model.bridge.attention(model.vision_encoder(reading.prepare(picture).pixels[None]))
            height, width = one["grid"]
            patches = weights[:, 0, :, -height * width :]
            assert one["layers"] == [0, 1] and height == width and len(set(one["queries"])) == 6
            assert torch.tensor(one["weights"]).allclose(patches[:, one["queries"]], rtol=1e-3, atol=1e-6)
            assert torch.tensor(one["mean"]).allclose(patches.mean(1), rtol=1e-3, atol=1e-6)


def test_nothing_is_written_without_weights_or_without_pictures(model, tmp_path):
    deaf = BridgedModel(Eye(), Deaf())
    deaf.bridge.register_parameter("one", torch.nn.Parameter(torch.ones(1)))
    for other, pictures in ((deaf, [scene(0)]), (model, [])):
        (tmp_path / "attention").mkdir()
        write_attention(other, pictures, tmp_path / "attention")
        assert not (tmp_path / "attention").exists()


def test_other_ranks_compute_along_and_write_nothing(model):
    calls = []
    hook = model.vision_encoder.register_forward_hook(lambda *call: calls.append(1))
    write_attention(model, [scene(0)], None)
    hook.remove()
    assert calls == [1]


@pytest.mark.parametrize(("layers", "chosen"), [(1, [0]), (2, [0, 1]), (6, [0, 3, 5])])
@pytest.mark.parametrize("prefix", [0, 1, 5])
def test_patches_are_the_last_square_of_tokens(layers, chosen, prefix):
    weights = torch.rand(layers, 2, 3, prefix + 16).softmax(-1)
    weights[..., :prefix] = 9
    for number, one in enumerate(maps(weights)):
        assert (one["grid"], one["layers"], sorted(one["queries"])) == ([4, 4], chosen, [0, 1, 2])
        expected = weights[chosen, number][:, one["queries"], prefix:]
        assert torch.tensor(one["weights"]).allclose(expected, rtol=1e-3)


def test_small_weights_keep_their_digits():
    weights = torch.full((1, 1, 1, 1024), 1 / 1024)
    assert maps(weights)[0]["weights"][0][0][0] == 0.0009766


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 4), st.integers(1, 7), st.integers(0, 99))
def test_rows_that_differ_are_chosen_once_each(rows, kinds, count, seed):
    draw = torch.Generator().manual_seed(seed)
    centres = torch.randn(kinds, 5, generator=draw)
    points = centres[torch.randint(kinds, (rows,), generator=draw)]
    chosen = farthest(points, count)
    assert len(chosen) == len(set(chosen)) == min(rows, count)
    wanted = min(len(points.unique(dim=0)), count)
    assert len(points[chosen].unique(dim=0)) == wanted, "as many kinds as there are places for"


@pytest.mark.parametrize("colours", [((0.48, 0.46, 0.41), (0.27, 0.26, 0.28)), ((0, 0, 0), (1, 1, 1))])
def test_colours_are_undone_whatever_they_were_divided_by(colours):
    mean, std = colours
    transform = image_transform(28, {"interpolation": "bicubic", "mean": mean, "std": std})
    pictures = [scene(0), scene(1)]
    shown = as_seen(torch.stack([transform(picture) for picture in pictures]), transform)
    for one, picture in zip(shown, pictures, strict=True):
        assert np.array_equal(np.asarray(one), np.asarray(picture.resize((28, 28), Image.Resampling.BICUBIC)))
