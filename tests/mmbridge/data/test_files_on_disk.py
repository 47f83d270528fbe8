"""The whole way: an annotation file and a folder of photographs, one in fifty of them spoilt, to batches."""

from pathlib import Path

import pytest
from mmbridge_image_text import ImageTextOptions, build_image_text
from mmbridge_registry import Dataset, UserError

from mmbridge.data.loader import StepBatches, load
from mmbridge.data.order import Mixture
from mmbridge.data.quarantine import Quarantine

COUNT = 200
SPOILT = {7: "empty", 53: "cut", 120: "missing", 180: "no words"}


@pytest.fixture
def dataset(tmp_path: Path, encode, monkeypatch) -> Dataset:
    monkeypatch.setenv("MMBRIDGE_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "images"
    folder.mkdir()
    lines = ["image,caption"]
    for number in range(COUNT):
        image = encode(number, "PNG" if number % 10 == 0 else "JPEG")  # some PNGs are called .jpg
        trouble = SPOILT.get(number)
        if trouble != "missing":
            cut = {"empty": 0, "cut": 300}.get(trouble or "", len(image))
            (folder / f"{number}.jpg").write_bytes(image[:cut])
        lines.append(f"{number}.jpg,{'...' if trouble == 'no words' else f'Picture number {number}.'}")
    annotations = tmp_path / "pairs.csv"
    annotations.write_text("\n".join(lines))
    return build_image_text(ImageTextOptions(annotations=annotations, images=folder))


def test_batches_stay_whole_and_each_spoilt_record_is_quarantined(dataset, preparation, tmp_path: Path) -> None:
    mixture = Mixture({"web": dataset}, {"web": 1}, 1)
    quarantine = Quarantine(tmp_path / "quarantine.jsonl", 0.01)
    for rank in range(2):
        batches = StepBatches(mixture=mixture, batch_size=40, rank=rank, world_size=2, **preparation)
        for batch, bad in load(batches, 0, COUNT // 40, 2):
            assert len(batch) == len(batch.pixels) == len(batch.prepared["captions"]) == 20
            quarantine.report(bad, seen=len(batch))
    assert {sample.name for sample in quarantine.bad.values()} == {f"{number}.jpg" for number in SPOILT}
    assert len(quarantine.path.read_text().splitlines()) == len(SPOILT)


def test_too_many_spoilt_records_stop(dataset, preparation, tmp_path: Path) -> None:
    for image in list((tmp_path / "images").iterdir())[::10]:
        image.write_bytes(b"<html>429 Too Many Requests</html>")
    batches = StepBatches(mixture=Mixture({"web": dataset}, {"web": 1}, 1), batch_size=40, **preparation)
    quarantine = Quarantine(tmp_path / "quarantine.jsonl", 0.01)
    with pytest.raises(UserError, match=r"cannot be used, more than 1\.00%: web \d+\.jpg \(its content is none of"):
        for batch, bad in load(batches, 0, COUNT // 40, 0):
            quarantine.report(bad, seen=len(batch))
