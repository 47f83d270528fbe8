"""Captioners that say nothing, scorers that give no numbers, images of rare formats, weights that are random."""

import json
import tarfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from mmbridge_image_tars import ImageTarsOptions, build_image_tars
from mmbridge_registry import CAPTIONER, SCORER, Captioner, Dataset, Record, Scorer, UserError
from PIL import Image
from toys import capfilt_parts

from mmbridge.capfilt.pipeline import Pipeline
from mmbridge.capfilt.recipe import CapFilt, load_capfilt
from mmbridge.data.images import decode

CONFIG = """
data: {name: tiny_world, size: 4}
captioner: {name: namer}
scorer: {name: hashed}
captions: 2
records_per_shard: 3
batch_size: 2
output: OUTPUT
"""


class Said(Captioner):
    """Says the same of every image."""

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts

    def caption(self, images: Sequence[Image.Image], count: int, seed: int) -> list[list[str]]:
        return [self.texts for _ in images]


class Scored(Scorer):
    """Gives every text the same score."""

    def __init__(self, number: float) -> None:
        self.number = number

    def score(self, images: Sequence[Image.Image], texts: Sequence[Sequence[str]]) -> list[list[float]]:
        return [[self.number] * len(row) for row in texts]


class Listed(Dataset):
    """Records from a list."""

    def __init__(self, *records: Record) -> None:
        self.records = records

    def __len__(self) -> int:
        return len(self.records)

    def read(self, index: int) -> Record:
        return self.records[index]


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CapFilt:
    monkeypatch.setenv("MMBRIDGE_CACHE", str(tmp_path / "cache"))
    config = tmp_path / "capfilt.yaml"
    config.write_text(CONFIG.replace("OUTPUT", str(tmp_path / "out")))
    return load_capfilt(config, [], capfilt_parts.found())


def run(recipe: CapFilt, records: Sequence[Record], texts: list[str], score: float = 0.5) -> Pipeline:
    pipeline = Pipeline(recipe, Listed(*records), Said(texts), Scored(score), 0, 1)
    pipeline.run(lambda what, total, more: None)
    return pipeline


def saved(picture: Image.Image, kind: str) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


def test_an_image_of_which_nothing_is_said_is_left_out_and_named(recipe: CapFilt) -> None:
    image = saved(Image.new("RGB", (9, 9)), "PNG")
    records = [Record(image, texts=web, name=name) for name, web in (("a", ()), ("b", ("(...)",)), ("c", ("a dog",)))]
    figures = run(recipe, records, ["!", " "]).figures()
    assert [(name, why[0]) for name, why in figures.bad] == [("record 0", "a"), ("record 1", "b")]
    assert (figures.images, figures.kept, figures.kept_from_web) == (1, 1, 1)
    dataset = build_image_tars(ImageTarsOptions(tars=str(recipe.settings.output)))
    assert [record.texts for record in (dataset[n] for n in range(len(dataset)))] == [("a dog",)]


def test_all_records_are_counted_once(recipe: CapFilt) -> None:
    image = saved(Image.new("RGB", (9, 9)), "PNG")
    records = [Record(image, texts=("a dog",)), Record(b"no image"), Record(image), Record(image, texts=("a cat",))]
    counted = []
    pipeline = Pipeline(recipe, Listed(*records), Said(["", "."]), Scored(1.0), 0, 1)
    pipeline.run(lambda what, total, more: counted.append((total, more)))
    assert {total for total, _ in counted} == {4} == {sum(more for _, more in counted)}


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_stops_and_leaves_nothing_half_made(recipe: CapFilt, score: float) -> None:
    image = saved(Image.new("RGB", (9, 9)), "PNG")
    with pytest.raises(UserError, match="no finite number") as caught:
        run(recipe, [Record(image)], ["a dog", "a cat"], score)
    assert "capfilt.yaml:4: scorer" in str(caught.value)
    assert list(recipe.settings.output.glob("*.tar*")) == []


def test_formats_that_tars_are_not_read_with_become_png_as_training_sees_them(recipe: CapFilt) -> None:
    deep = Image.fromarray((np.arange(400, dtype=np.uint16) * 100).reshape(20, 20))
    image = saved(deep, "TIFF")
    run(recipe, [Record(image, texts=("a ramp",))], ["a", "b"])
    with tarfile.open(recipe.settings.output / "00000.tar") as tar:
        picture, said = tar.getmembers()
        kept, page = (tar.extractfile(member) for member in (picture, said))
        assert kept is not None and page is not None
        pixels = np.asarray(Image.open(kept))
        assert json.loads(page.read())["web_captions"] == ["a ramp"]
    assert picture.name.endswith(".png")
    np.testing.assert_array_equal(pixels, np.asarray(decode(image)))
    assert 60 < pixels.mean() < 100


def test_random_weights_are_the_same_when_it_goes_on(recipe: CapFilt) -> None:
    """A part draws its weights as it is built: the seed of the config decides, whatever was drawn before."""
    found, drawn = capfilt_parts.found(), []
    for kind, name in ((CAPTIONER, "namer"), (SCORER, "hashed")):
        offer = found.catalog.find(kind, name)

        def build(options: object, load: object, device: str, offer=offer) -> object:
            drawn.append(torch.rand(2).tolist())
            return offer.build(options, load, device)

        found.catalog.offer(kind, f"{name}_drawn", offer.options, build)
    config = recipe.source
    for before in (1, 2):
        torch.manual_seed(before)
        one = load_capfilt(config, ["captioner.name=namer_drawn", "scorer.name=hashed_drawn"], found)
        Pipeline.of(one, found.catalog)
    assert drawn[:2] == drawn[2:]
    assert drawn[0] != drawn[1]


def test_another_part_starts_afresh() -> None:
    found = capfilt_parts.found()
    changed = load_capfilt("capfilt/blip_large", ["captioner={name: run, path: runs/x}", "scorer.name=hashed"], found)
    assert changed.captioner.options.model_dump()["path"] == "runs/x"
    assert changed.scorer.offer.name == "hashed"


def test_weights_beside_a_config_move_with_it(tmp_path: Path) -> None:
    config = tmp_path / "capfilt.yaml"
    config.write_text(CONFIG.replace("name: namer", "name: blip, weights: ./blip"))
    recipe = load_capfilt(config, [], capfilt_parts.found())
    assert recipe.captioner.options.model_dump()["weights"] == str(tmp_path / "blip")
