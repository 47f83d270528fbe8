"""What users do wrong, from the command line: one clear line each, exit code 2, nothing half-written."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from mmbridge import cli

SMALL = (
    "~evaluate", "run.threads=1", "run.workers=0", "run.log_every=1", "stages.representation.steps=2",
    "stages.generation.steps=2", "stages.representation.batch_size=4", "stages.generation.batch_size=4",
)  # fmt: skip
OWN_DATA = ("~data", "~stages.representation.data", "data.mine.name=image_text", "data.mine.annotations=list.jsonl",
            "data.mine.images=photos")  # fmt: skip

Call = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def mmbridge(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Call the command line in an empty folder; give the exit code and the lines on stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MMBRIDGE_CACHE", str(tmp_path / "cache"))

    def call(*arguments: str) -> tuple[int, list[str]]:
        with pytest.raises(SystemExit) as caught:
            cli.main(arguments)
        return int(caught.value.code or 0), capsys.readouterr().err.splitlines()

    return call


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Sixteen sound pictures, and a list of captions for them."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(16):
        Image.effect_noise((80, 60), 40 + number).convert("RGB").save(folder / f"{number}.jpg")
    write_list(tmp_path, ["a grey noise"] * 16)
    return folder


def write_list(where: Path, captions: list[str]) -> None:
    rows = [{"image": f"{number}.jpg", "caption": caption} for number, caption in enumerate(captions)]
    (where / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("model.bridge.querys=4",), ("model.bridge.querys", "queries")),
        (("stages.representation.optimizer.learning_rate=1",), ("stages.representation.optimizer.learning_rate",)),
        (("model.bridge.name=qfomer",), ("qfomer", "did you mean 'qformer'")),
        (("model.bridge={name: mlp, queries: 8}", "~stages.representation.objectives.itg",
          "~stages.representation.objectives.itm"),
         ("itc", "TextBridge", "mlp")),
        (("stages.generation.objectives={lm: {}}",), ("lm", "decoder", "flan_t5")),
        (("model.language_model.dtype=float16",), ("model.language_model.dtype", "float16")),
        (("stages.representation.micro_batch_size=3",), ("micro_batch_size",)),
        (("model.language_model.weights=google/flan-t5-xl",), ("google/flan-t5-xl", "mmbridge fetch")),
        (("model.bridge.init=/no/such/folder",), ("/no/such/folder", "model.bridge.init")),
        ((*OWN_DATA, "data.mine.annotations=/no/such/file.jsonl"), ("/no/such/file.jsonl",)),
        (("evaluate.captions={name: tiny_world_captions, stages: [fine_tuning], data: {name: tiny_world}}",),
         ("fine_tuning",)),
        (("evaluate.captions={name: tiny_world_captions, stages: [generation], "
          "data: {name: image_text, annotations: /no/such/test.jsonl, images: .}}",), ("/no/such/test.jsonl",)),
    ],
    ids=lambda value: value[-1][:40] if isinstance(value, tuple) else None,
)  # fmt: skip
def test_a_mistake_is_one_line(mmbridge: Call, overrides: tuple[str, ...], said: tuple[str, ...]) -> None:
    code, lines = mmbridge("run", "blip2_tiny", *SMALL, *overrides)
    assert code == 2
    assert len(lines) == 1, lines
    assert all(word in lines[0] for word in said), lines[0]
    assert not Path("runs").exists()


def test_a_missing_config_is_one_line(mmbridge: Call) -> None:
    code, lines = mmbridge("run", "nowhere.yaml")
    assert code == 2 and len(lines) == 1 and "nowhere.yaml" in lines[0]


HARMS = {
    "corrupt": lambda path: path.write_bytes(b"\xff\xd8\xff" + bytes(200)),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-200]),
    "empty": lambda path: path.write_bytes(b""),
    "missing": Path.unlink,
}


@pytest.mark.parametrize("harm", HARMS)
def test_one_unreadable_picture_is_replaced_and_listed(mmbridge: Call, photos: Path, harm: str) -> None:
    HARMS[harm](photos / "3.jpg")
    code, lines = mmbridge("run", "blip2_tiny", *SMALL, *OWN_DATA, "stages.representation.steps=8")
    assert (code, lines) == (0, [])
    listed = [json.loads(line) for line in Path("runs/blip2_tiny/quarantine.jsonl").read_text().splitlines()]
    assert [entry["dataset"] for entry in listed] == ["mine"]
    assert "3" in listed[0]["name"] and listed[0]["reason"]


def test_an_empty_caption_is_replaced_and_listed(mmbridge: Call, photos: Path) -> None:
    write_list(photos.parent, ["a grey noise"] * 15 + ["..."])
    code, _ = mmbridge("run", "blip2_tiny", *SMALL, *OWN_DATA, "stages.representation.steps=8")
    assert code == 0
    assert "empty" in Path("runs/blip2_tiny/quarantine.jsonl").read_text()


def test_too_many_unreadable_pictures_stop_the_run_in_one_line(mmbridge: Call, photos: Path) -> None:
    for number in range(2, 16):
        (photos / f"{number}.jpg").write_bytes(b"no picture")
    code, lines = mmbridge("run", "blip2_tiny", *SMALL, *OWN_DATA, "stages.representation.steps=20")
    assert code == 2 and len(lines) == 1
    assert "quarantine.jsonl" in lines[0] and "run.max_bad_fraction" in lines[0]
