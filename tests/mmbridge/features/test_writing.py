"""Writing features: one row per image, the same bytes however they came to be, and nothing half written."""

import os
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from mmbridge_registry import UserError
from PIL import Image
from toys.features import SOUND, recipe_of, write_features, write_photos

from mmbridge.assemble import assemble_encoder
from mmbridge.data.samples import seeded
from mmbridge.features.folder import IMAGES, RECORDS, read_manifest, shard_file
from mmbridge.features.shards import open_shard, read_features
from mmbridge.features.views import view_at, view_seed

HELD = Path(__file__).parent / "write_and_hold.py"


def contents(where: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted((where / "features" / "mine").iterdir())}


@contextmanager
def set_aside(where: Path) -> Iterator[None]:
    """Take the features away inside the block, and bring them back after it."""
    kept = (where / "features").rename(where / "kept")
    try:
        yield
    finally:
        shutil.rmtree(where / "features", ignore_errors=True)
        kept.rename(where / "features")


def kill_after(shards: int, where: Path) -> None:
    """Write features in a process of their own, and kill it in the middle of the shard after so many whole ones."""
    toys = {"PYTHONPATH": os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), str(HELD.parents[2])])}
    command = [sys.executable, str(HELD), str(where), str(shards)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | toys) as held:
        assert held.stdout is not None and held.stdout.readline() == "held\n"
        os.kill(held.pid, signal.SIGKILL)


def test_records_of_one_image_share_a_row(written: Path) -> None:
    records = np.load(written / "features" / "mine" / RECORDS)
    images = np.load(written / "features" / "mine" / IMAGES)
    assert len(images) == SOUND + 2 and len(records) == 2 * SOUND + 2
    assert records[:SOUND, 0].tolist() == records[SOUND + 2 :, 0].tolist() == list(range(SOUND))
    assert images.tolist() == list(range(SOUND + 2))


def test_unreadable_images_are_noted_and_the_others_stand_in_their_rows(written: Path) -> None:
    folder = written / "features" / "mine"
    last = open_shard(shard_file(folder, 2))
    assert set(last.unreadable) == {SOUND - 16, SOUND - 15}
    assert "truncated" in last.unreadable[SOUND - 16] and "No such file" in last.unreadable[SOUND - 15]


def test_features_are_what_the_encoder_makes_of_the_picture_alone(written: Path) -> None:
    recipe, found = recipe_of(written)
    encoder = assemble_encoder(recipe, found.catalog)
    transform = encoder.transform(train=False)
    for number in (0, 7, 8, SOUND - 1):
        pixels = transform(Image.open(written / "photos" / f"{number}.jpg").convert("RGB"))
        shard, row = divmod(number, 8)
        kept = read_features(shard_file(written / "features" / "mine", shard), row, 0)
        with torch.no_grad():
            torch.testing.assert_close(kept, encoder(pixels[None])[0], rtol=1e-5, atol=1e-5)


def test_views_are_the_training_transform_under_their_own_seeds(tmp_path: Path) -> None:
    write_photos(tmp_path)
    crops = ("model.vision_encoder.augment=crop_flip", "features.views=3")
    write_features(tmp_path, *crops, "run.seed=5")
    recipe, found = recipe_of(tmp_path, *crops)
    encoder = assemble_encoder(recipe, found.catalog)
    transform = encoder.transform(train=True)
    picture = Image.open(tmp_path / "photos" / "9.jpg").convert("RGB")
    kept = [read_features(shard_file(tmp_path / "features" / "mine", 1), 1, view) for view in range(3)]
    for view, features in enumerate(kept):
        with seeded(view_seed("image_text", 9, view)), torch.no_grad():
            torch.testing.assert_close(features, encoder(transform(picture)[None])[0], rtol=1e-5, atol=1e-5)
    assert not torch.equal(kept[0], kept[1]) and not torch.equal(kept[1], kept[2])


def test_every_record_shows_all_its_views_in_as_many_epochs() -> None:
    orders = set()
    for index in range(40):
        order = [view_at(3, "mine", index, epoch, 4) for epoch in range(8)]
        assert sorted(order[:4]) == sorted(order[4:]) == [0, 1, 2, 3]
        orders.add(tuple(order))
    assert len(orders) > 20
    assert [view_at(3, "mine", index, 0, 4) for index in range(9)] != [view_at(4, "mine", i, 0, 4) for i in range(9)]


def test_two_ranks_write_what_one_writes(written: Path) -> None:
    expected = contents(written)
    with set_aside(written):
        for rank in (1, 0):
            write_features(written, rank=rank, world_size=2)
        assert contents(written) == expected


@pytest.mark.slow
def test_killed_in_a_shard_the_same_command_goes_on(written: Path) -> None:
    expected = contents(written)
    with set_aside(written):
        kill_after(1, written)
        there = contents(written)
        assert len([name for name in there if name.endswith(".safetensors")]) == 1
        assert any(name.endswith(".tmp") for name in there)
        told: set[tuple[str, int]] = set()
        write_features(written, watch=lambda what, total, _: told.add((what, total)))
        assert told == {("encoding mine", SOUND + 2 - 8)}
        assert contents(written) == expected


def test_a_disk_without_room_is_refused_before_a_shard_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_photos(tmp_path)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**6, 0, 500_000))
    with pytest.raises(UserError, match=r"take 0.000524 GB more, but the disk has room for 0.0005 GB"):
        write_features(tmp_path)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_other_features_in_the_folder_are_not_mixed_with_these(written: Path) -> None:
    before = contents(written)
    with pytest.raises(UserError, match=r"written with features.views = 1, now it is 2"):
        write_features(written, "features.views=2")
    assert contents(written) == before


def test_the_manifest_says_what_features_are_of(written: Path) -> None:
    manifest = read_manifest(written / "features" / "mine")
    assert manifest is not None
    assert (manifest.records, manifest.images, manifest.shards) == (2 * SOUND + 2, SOUND + 2, 3)
    assert manifest.shape == (1, 65, 96) and manifest.dtype == "float32"
    key = manifest.key
    assert key["model.vision_encoder.weights"].startswith("sha256 ") and key["model.vision_encoder.output_layer"] == -2
    assert key["features.views"] == 1 and key["data.mine.name"] == "image_text"
