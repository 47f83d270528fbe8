"""A run with features: the same numbers as without, on the same samples, and refused if they are not its encoder's."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from mmbridge_registry import MmbridgeError, UserError
from rich.console import Console
from toys.features import recipe_of, write_features, write_photos

from mmbridge import checkpoint
from mmbridge.config import ConfigError
from mmbridge.data.loader import StepBatches, load
from mmbridge.features.checking import open_cached
from mmbridge.features.folder import RECORDS, shard_file
from mmbridge.features.shards import open_shard
from mmbridge.feed import open_mixture
from mmbridge.run_directory import RunDirectory
from mmbridge.runner import run


def go(where: Path, *overrides: str, cached: bool = True) -> RunDirectory:
    """Carry out the recipe."""
    return run(*recipe_of(where, *overrides, cached=cached), Console(file=io.StringIO()))


def losses(directory: RunDirectory) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in directory.metrics.read_text().splitlines()]
    return [{name: value for name, value in line.items() if name in ("step", "loss", "itc", "itg", "itm", "grad_norm")}
            for line in lines]  # fmt: skip


def copy(written: Path, where: Path) -> Path:
    """Copy the features, to be spoilt."""
    shutil.copytree(written / "features", where / "features")
    return where / "features" / "mine"


def test_a_run_with_features_is_the_run_without(written: Path, tmp_path: Path) -> None:
    """To the last bits of float32, which depend on how many images are encoded at once; with the same bad records."""
    there = f"run.directory={tmp_path}"
    computed, cached = go(written, there, "run.name=computed", cached=False), go(written, there, "run.name=cached")
    assert len(losses(cached)) == 6
    for one, other in zip(losses(computed), losses(cached), strict=True):
        assert one == pytest.approx(other, rel=1e-5)
    assert computed.quarantine.read_text() == cached.quarantine.read_text() != ""


def test_in_bfloat16_to_its_precision(written: Path, tmp_path: Path) -> None:
    there = (f"run.directory={tmp_path}", "run.precision=bfloat16", "stages.representation.steps=2")
    computed, cached = go(written, *there, "run.name=computed", cached=False), go(written, *there, "run.name=cached")
    for one, other in zip(losses(computed), losses(cached), strict=True):
        assert one == pytest.approx(other, rel=0.03)


@pytest.mark.slow
def test_a_run_with_features_resumes_exactly(written: Path, tmp_path: Path) -> None:
    there = f"run.directory={tmp_path}"
    whole, stopped = go(written, there, "run.name=whole"), go(written, there, "run.name=stopped")
    shutil.rmtree(max(stopped.checkpoints("representation").iterdir()))
    again = go(written, there, "run.name=stopped")
    assert losses(again) == losses(whole)
    ends = [checkpoint.newest(one.checkpoints("representation"))[0] for one in (whole, again)]
    assert ends[0] is not None and ends[1] is not None and ends[0].step == ends[1].step == 6
    for name, tensor in ends[0].weights().items():
        assert torch.equal(tensor, ends[1].weights()[name]), name


@pytest.fixture(scope="module")
def viewed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features of three random crops per image."""
    where = tmp_path_factory.mktemp("viewed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMBRIDGE_CACHE", str(where / "cache"))
        write_photos(where)
        write_features(where, "model.vision_encoder.augment=crop_flip", "features.views=3")
    return where


def test_views_are_the_same_on_any_ranks_and_workers(viewed: Path) -> None:
    recipe, found = recipe_of(viewed)
    mixture = open_mixture(recipe, recipe.stages["representation"], found.catalog)
    cached = open_cached(recipe, mixture.datasets)
    nothing = {"transform": None, "objectives": {}, "bridge_tokenizer": None, "language_tokenizer": None}

    def features(ranks: int, workers: int) -> torch.Tensor:
        steps: list[torch.Tensor] = []
        for rank in range(ranks):
            batches = StepBatches(
                mixture=mixture, batch_size=8, rank=rank, world_size=ranks, cached=cached, **nothing  # type: ignore[arg-type]
            )  # fmt: skip
            loaded = [batch for batch, _ in load(batches, 0, 15, workers)]
            assert all(batch.pixels is None and len(batch) == 8 // ranks for batch in loaded)
            steps.append(torch.stack([batch.features for batch in loaded if batch.features is not None]))
        return torch.cat(steps, dim=1)

    alone = features(1, 0)
    assert torch.equal(alone, features(2, 0)) and torch.equal(alone, features(4, 2))
    # 120 samples are three epochs of 40 records: each sound record has shown each of its views once.
    shown = {tuple(row.flatten()[:8].tolist()) for row in alone.flatten(0, 1)}
    kept = [open_shard(shard_file(viewed / "features" / "mine", shard)) for shard in range(3)]
    assert shown == {
        tuple(view.flatten()[:8].tolist())
        for shard in kept
        for number, image in enumerate(shard.features[:])
        if number not in shard.unreadable
        for view in image
    }


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("model.vision_encoder.output_layer=-1", "model.vision_encoder.output_layer = -2, now it is -1"),
        ("model.vision_encoder.dtype=bfloat16", "model.vision_encoder.dtype = float32, now it is bfloat16"),
        ("model.vision_encoder.augment=crop_flip", "model.vision_encoder.augment = resize, now it is crop_flip"),
        ("model.vision_encoder.image_size=48", "model.vision_encoder.image_size = None, now it is 48"),
        ("features.views=2", "features.views = 1, now it is 2"),
        ("data.mine.caption_column=image", "data.mine.caption_column = None, now it is image"),
    ],
)  # fmt: skip
def test_features_of_something_else_are_refused(written: Path, tmp_path: Path, override: str, key: str) -> None:
    with pytest.raises(UserError, match=key) as refused:
        go(written, override, f"run.directory={tmp_path}/runs")
    assert "mmbridge data features" in str(refused.value) and str(written / "features" / "mine") in str(refused.value)
    assert not (tmp_path / "runs").exists()


def test_weights_count_by_content(written: Path, tmp_path: Path) -> None:
    _, found = recipe_of(written)
    tower = shutil.copytree(found.catalog.shipped("tiny/vit") or "", tmp_path / "tower")
    there = (f"model.vision_encoder.weights={tower}", f"run.directory={tmp_path}/runs")
    go(written, *there, "stages.representation.steps=1", "run.name=moved")
    settings = tower / "open_clip_config.json"
    settings.write_text(settings.read_text().replace("0.5", "0.6"))
    with pytest.raises(UserError, match=r"model\.vision_encoder\.weights = sha256 \w+, now it is sha256"):
        go(written, *there, "run.name=changed")


def test_of_the_seed_features_are_independent(written: Path, tmp_path: Path) -> None:
    go(written, "run.seed=7", f"run.directory={tmp_path}", "stages.representation.steps=1")


def test_missing_features_and_missing_shards_are_refused(written: Path, tmp_path: Path) -> None:
    runs = f"run.directory={tmp_path}/runs"
    with pytest.raises(UserError, match=r"there are no features of data.mine.*mmbridge data features"):
        go(written, runs, f"features.folder={tmp_path}/nowhere")
    folder = copy(written, tmp_path)
    shard_file(folder, 1).unlink()
    with pytest.raises(UserError, match=r"1 of 3 shards have not been written.*mmbridge data features"):
        go(written, runs, f"features.folder={tmp_path}/features")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("what", "said"), [("short", "cannot be read"), ("index", "records.npy is damaged")])
def test_damage_is_noticed_before_a_run(written: Path, tmp_path: Path, what: str, said: str) -> None:
    folder = copy(written, tmp_path)
    file = folder / RECORDS if what == "index" else shard_file(folder, 1)
    whole = file.read_bytes()
    file.write_bytes(whole[:-100] if what == "short" else whole[:-1] + b"\x01")
    with pytest.raises(UserError, match=said):
        go(written, f"run.directory={tmp_path}/runs", f"features.folder={tmp_path}/features")
    assert not (tmp_path / "runs").exists()


def test_a_flipped_bit_is_noticed_when_it_is_read(written: Path, tmp_path: Path) -> None:
    file = shard_file(copy(written, tmp_path), 1)
    whole = bytearray(file.read_bytes())
    whole[-40_000] ^= 1
    file.write_bytes(whole)
    with pytest.raises(MmbridgeError, match=r"features of image \d are damaged.*writes it again") as found:
        go(written, f"run.directory={tmp_path}/runs", f"features.folder={tmp_path}/features")
    assert str(found.value).startswith(str(file))


def test_an_image_with_other_contents_is_noticed(written: Path, tmp_path: Path) -> None:
    first = written / "photos" / "0.jpg"
    before = first.read_bytes()
    first.write_bytes((written / "photos" / "5.jpg").read_bytes())
    try:
        with pytest.raises(UserError, match=r"gives other features for record 0 than these, by \d+%"):
            go(written, f"run.directory={tmp_path}/runs")
    finally:
        first.write_bytes(before)


def test_a_list_in_another_order_is_noticed(written: Path, tmp_path: Path) -> None:
    rows = (written / "list.jsonl").read_text().splitlines(keepends=True)
    try:
        (written / "list.jsonl").write_text("".join([*rows[1:], rows[0]]))
        with pytest.raises(UserError, match="is not the one that it was when these features were written"):
            go(written, f"run.directory={tmp_path}/runs")
    finally:
        (written / "list.jsonl").write_text("".join(rows))


def test_a_stage_that_trains_the_encoder_is_a_mistake_of_the_config(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="trains the vision_encoder, whose features are written beforehand"):
        recipe_of(tmp_path, "stages.representation.train=[bridge,vision_encoder]")


def test_a_wrong_key_of_the_section_is_a_mistake_of_the_config(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"the section 'features' has no option 'view'.*views"):
        recipe_of(tmp_path, "features.view=2")
