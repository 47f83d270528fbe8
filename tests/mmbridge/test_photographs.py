"""The shipped config on real photographs: data overridden on the command line, captions written for each."""

import json
from importlib.resources import files
from pathlib import Path

import pytest
from PIL import Image

from mmbridge import cli

PHOTOGRAPHS = {
    "astronaut.png": "A woman in an orange space suit in front of a flag.",
    "chelsea.png": "A ginger cat looks at the camera.",
    "coffee.png": "A cup of coffee on a wooden table.",
    "rocket.jpg": "A rocket stands on its launch pad.",
    "motorcycle_left.png": "A motorcycle stands in a garage.",
    "hubble_deep_field.jpg": "Many galaxies in a black sky.",
    "camera.png": "A man with a camera on a lawn.",
    "coins.png": "Old coins in rows.",
}


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """An official COCO caption file with JPEG files beside it."""
    folder = tmp_path / "coco" / "train2014"
    folder.mkdir(parents=True)
    images, annotations = [], []
    for number, (name, caption) in enumerate(PHOTOGRAPHS.items(), start=1):
        with Image.open(str(files("skimage") / "data" / name)) as picture:
            small = picture.convert("RGB")
        small.thumbnail((320, 320))
        file = f"COCO_train2014_{number:012d}.jpg"
        small.save(folder / file, quality=90)
        images.append({"id": number, "file_name": file, "width": small.width, "height": small.height})
        annotations.append({"id": 100 + number, "image_id": number, "caption": caption})
        annotations.append({"id": 200 + number, "image_id": number, "caption": f"{caption} In the day."})
    file = tmp_path / "coco" / "captions_train2014.json"
    file.write_text(json.dumps({"info": {}, "licenses": [], "images": images, "annotations": annotations}))
    return file


@pytest.mark.slow
def test_the_same_command_line_trains_on_photographs_and_captions_them(
    coco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MMBRIDGE_CACHE", str(tmp_path / "cache"))

    def mmbridge(*arguments: str) -> str:
        with pytest.raises(SystemExit) as caught:
            cli.main(arguments)
        said = capsys.readouterr()
        assert not caught.value.code, said.err
        return said.out

    mmbridge(
        "run", "blip2_tiny", "~data", "~stages.representation.data", "~evaluate", "data.photos.name=coco_captions",
        f"data.photos.annotations={coco}", f"data.photos.images={coco.parent / 'train2014'}",
        "stages.representation.steps=12", "stages.generation.steps=12", "stages.representation.batch_size=8",
        "stages.generation.batch_size=8", "run.log_every=1", "run.threads=1", "run.workers=1",
    )  # fmt: skip
    lines = [json.loads(line) for line in Path("runs/blip2_tiny/metrics.jsonl").read_text().splitlines()]
    for stage in ("representation", "generation"):
        losses = [line["loss"] for line in lines if line["stage"] == stage]
        assert len(losses) == 12 and min(losses[-3:]) < losses[0]
    assert not Path("runs/blip2_tiny/quarantine.jsonl").exists()

    pictures = sorted(str(path) for path in (coco.parent / "train2014").iterdir())
    written = [json.loads(line) for line in mmbridge("caption", "runs/blip2_tiny", *pictures, "--json").splitlines()]
    assert [Path(entry["image"]).name for entry in written] == [Path(path).name for path in pictures]
    assert all(entry["caption"] for entry in written)
