"""The whole way: tars as img2dataset writes them, some images spoilt, to batches on any ranks and workers."""

import io
import json
import tarfile
from pathlib import Path

import pytest
import torch
from mmbridge_image_tars import ImageTarsOptions, build_image_tars
from mmbridge_registry import Batch

from mmbridge.data.loader import StepBatches, load
from mmbridge.data.order import Mixture
from mmbridge.data.samples import BadSample

SPOILT = {33: "empty", 120: "cut", 215: "no words", 399: "no json"}
BATCH, STEPS = 16, 25


@pytest.fixture
def mixture(tmp_path: Path, encode, album, monkeypatch) -> Mixture:
    monkeypatch.setenv("MMBRIDGE_CACHE", str(tmp_path / "cache"))
    for shard in range(20):
        with tarfile.open(tmp_path / f"{shard:05}.tar", "w") as tar:
            for key in range(20 * shard, 20 * shard + 20):
                trouble, image = SPOILT.get(key), encode(key)
                cut = {"empty": 0, "cut": 300}.get(trouble or "", len(image))
                said = json.dumps(
                    {"captions": ["..."] if trouble == "no words" else [f"one of {key}", f"two of {key}"]}
                )
                words = b"{" if trouble == "no json" else said.encode()
                for name, content in ((f"{key:09}.jpg", image[:cut]), (f"{key:09}.json", words)):
                    info = tarfile.TarInfo(name)
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
    web = build_image_tars(ImageTarsOptions(tars=str(tmp_path)))
    return Mixture({"web": web, "album": album(23)}, {"web": 0.8, "album": 0.2}, seed=4)


def read(mixture: Mixture, preparation: dict, ranks: int, workers: int) -> tuple[list[Batch], list[BadSample]]:
    """Give the batches of all ranks in the order of steps and ranks, and what was bad."""
    batches, bad = [], []
    streams = [
        load(
            StepBatches(mixture=mixture, batch_size=BATCH, rank=rank, world_size=ranks, **preparation),
            0,
            STEPS,
            workers,
        )
        for rank in range(ranks)
    ]
    for step in zip(*streams, strict=True):
        batches += [batch for batch, _ in step]
        bad += [sample for _, some in step for sample in some]
    return batches, bad


@pytest.mark.parametrize(("ranks", "workers"), [(2, 0), (4, 0), (1, 3), (2, 1)])
def test_ranks_and_workers_change_nothing(ranks: int, workers: int, mixture: Mixture, preparation: dict) -> None:
    one, one_bad = read(mixture, preparation, 1, 0)
    other, other_bad = read(mixture, preparation, ranks, workers)
    assert torch.equal(torch.cat([batch.pixels for batch in one]), torch.cat([batch.pixels for batch in other]))
    assert torch.equal(torch.cat([batch.image_ids for batch in one]), torch.cat([batch.image_ids for batch in other]))
    assert one_bad == other_bad
    assert {len(batch.pixels) for batch in other} == {BATCH // ranks}


def test_each_spoilt_sample_of_an_epoch_is_named(mixture: Mixture, preparation: dict) -> None:
    epoch = BATCH * STEPS * 10 // 8 // BATCH
    batches = StepBatches(mixture=mixture, batch_size=BATCH, **preparation)
    bad = [sample for _, some in load(batches, 0, epoch + 2, 0) for sample in some]
    named = {sample.name for sample in bad if sample.name.endswith(".tar")}
    assert named >= {f"{key:09}.jpg@{key // 20:05}.tar" for key, trouble in SPOILT.items() if trouble != "no json"}
    assert any("000000399.jpg@00019.tar: its json cannot be read" in sample.reason for sample in bad)
