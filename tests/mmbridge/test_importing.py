"""Importing: any file of LAVIS becomes a folder that every command takes as a run, whole or not at all."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from mmbridge_registry import UserError
from mmbridge_registry.discovery import discover
from PIL import Image
from toys.lavis_files import write_lavis
from toys.tiny_opt import write_opt
from toys.tiny_t5 import write_t5

import mmbridge
from mmbridge import cli
from mmbridge.checkpoint import read
from mmbridge.config import load_recipe
from mmbridge.exporting import export
from mmbridge.importing import import_checkpoint

WITH_OPT = "model.language_model.weights=opt"
PICTURE = Image.effect_noise((40, 30), 60)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMBRIDGE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def opt(tmp_path: Path) -> Path:
    return write_opt(tmp_path / "opt")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    return write_lavis(tmp_path / "caption.pth", "caption_opt")


@pytest.fixture
def imported(source: Path, opt: Path, tmp_path: Path) -> Path:
    import_checkpoint(source, tmp_path / "in", [f"model.language_model.weights={opt}"], discover())
    return tmp_path / "in"


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        cli.main([str(argument) for argument in arguments])
    return int(caught.value.code or 0)


def test_it_captions_and_refuses_what_the_source_does_not_hold(imported: Path) -> None:
    model = mmbridge.load(imported)
    assert len(model.caption([PICTURE])) == 1
    with pytest.raises(UserError, match="text"):
        model.match([PICTURE], ["noise"])


def test_every_tensor_is_accounted_for(imported: Path, source: Path) -> None:
    report = json.loads((imported / "import.json").read_text())
    there = set(torch.load(source, weights_only=True)["model"])
    assert there == {*report["renamed"], *report["unused"]}
    assert report["taken"] == len(report["renamed"])
    saved = read(imported / "checkpoints" / "imported" / "step-00000000")
    model = mmbridge.load(imported).bridged
    trainable = {name for name in model.kept() if name.startswith(("bridge.", "projection."))}
    assert trainable - saved.weights().keys() == set(report["missing"]) == saved.lacks
    assert not saved.lacks & model.learned


def test_the_folder_may_be_moved(imported: Path, tmp_path: Path) -> None:
    said = mmbridge.load(imported).caption([PICTURE])
    moved = tmp_path / "elsewhere" / "moved"
    moved.parent.mkdir()
    shutil.move(imported, moved)
    assert mmbridge.load(moved).caption([PICTURE]) == said


def test_a_relative_path_on_the_command_line_is_still_found_from_elsewhere(
    source: Path, opt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(opt.parent)
    assert run("import", source, "--out", "in", "model.language_model.weights=opt") == 0
    monkeypatch.chdir("/")
    assert mmbridge.load(tmp_path / "in").caption([PICTURE])


def test_a_stage_starts_from_it_and_says_what_it_lacks(
    imported: Path, opt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A text half that the source does not hold comes from the new run's own options."""
    monkeypatch.chdir(tmp_path)
    model = load_recipe(imported / "config.resolved.yaml", [], discover()).resolved["model"]
    config = {
        "model": model,
        "data": {"world": {"name": "tiny_world", "size": 16}},
        "stages": {
            "generation": {
                "train": ["bridge", "projection"], "objectives": {"lm": {}}, "steps": 2, "batch_size": 4,
                "start": str(imported),
            }
        },
        "run": {"threads": 1, "workers": 0},
    }  # fmt: skip
    (tmp_path / "again.yaml").write_text(json.dumps(config))
    assert run("run", "again.yaml") == 0
    said = " ".join(capsys.readouterr().out.split())
    lacks = len(json.loads((imported / "import.json").read_text())["missing"])
    assert f"{lacks} new" in said
    before, after = (mmbridge.load(path).bridged.tensors() for path in (imported, tmp_path / "runs" / "again"))
    assert not torch.equal(before["projection.weight"], after["projection.weight"])
    torch.testing.assert_close(before["bridge.queries"], after["bridge.queries"], atol=1e-2, rtol=0)


def test_it_is_evaluated_as_another_config_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmbridge_tiny_world import WEIGHTS

    words = len((WEIGHTS / "bert" / "vocab.txt").read_text().split()) + 1
    source = write_lavis(tmp_path / "stage1.pth", "retrieval", vocabulary=words)
    out = tmp_path / "in"
    assert run("import", source, "--out", out, f"model.bridge.tokenizer={WEIGHTS / 'bert'}") == 0
    assert run("evaluate", out) == 2
    assert "--evaluations" in capsys.readouterr().err
    monkeypatch.chdir(tmp_path)
    few = ["~evaluate.captions", "~evaluate.answers", "~evaluate.captions_of_unseen_pairs",
           "evaluate.retrieval.data.size=8", "evaluate.retrieval.candidates=4"]  # fmt: skip
    assert run("evaluate", out, *few, "--evaluations", "blip2_tiny_opt") == 0
    results = json.loads((out / "evaluation.json").read_text())
    assert {key.split("/")[0] for key in results} == {"imported"}
    assert all(result["n"] == 8 for key, result in results.items() if "r1" in key.lower())


def test_a_foreign_checkpoint_is_loaded_through_the_cache_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_lavis(tmp_path / "retrieval.pth", "retrieval")
    first = mmbridge.load(source)
    monkeypatch.setattr("mmbridge.importing.import_checkpoint", lambda *_: pytest.fail("imported again"))
    second = mmbridge.load(str(source))
    for name, tensor in first.bridged.kept().items():
        if name in first.bridged.learned:
            assert torch.equal(tensor, second.bridged.kept()[name]), name


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.pth", "--out", "in"], "nowhere.pth"),
        (["notes.txt", "--out", "in"], "Known formats: hf, lavis"),
        (["caption.pth", "--out", "in"], "model.language_model.weights="),
        (["caption.pth", "--out", "full"], "exists already"),
        (["caption.pth", "--out", "in", WITH_OPT, "model.bridge.queries=9"], "query_tokens has shape"),
        (["caption.pth", "--out", "in", WITH_OPT, "model.bridge.querys=9"], "model.bridge.querys"),
        (["caption.pth", "--out", "in", WITH_OPT, "model.bridge={name: mlp, queries: 5}"], "no published layout"),
        (["caption.pth"], "--out"),
    ],
)  # fmt: skip
def test_what_cannot_be_imported_leaves_nothing_behind(
    arguments: list[str], said: str, source: Path, opt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("keep me")
    before = sorted(tmp_path.iterdir())
    assert run("import", *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert sorted(tmp_path.iterdir()) == before


def test_an_imported_folder_cannot_be_run(imported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("run", imported / "config.resolved.yaml") == 2
    assert "start:" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["stage1", "opt", "t5", "caption_opt", "caption_t5", "retrieval", "retrieval_clip"])
def test_a_lavis_file_comes_back_tensor_for_tensor(kind: str, opt: Path, tmp_path: Path) -> None:
    """An encoder that was tuned is in the file, and goes back into it; the stock one is not."""
    source = write_lavis(tmp_path / "source.pth", kind)
    named = []
    if "opt" in kind or "t5" in kind:
        named.append(f"model.language_model.weights={opt if 'opt' in kind else write_t5(tmp_path / 't5')}")
    if kind in ("stage1", "opt", "t5"):
        donor = write_lavis(tmp_path / "donor.pth", "retrieval")
        import_checkpoint(donor, tmp_path / "donor", [], discover())
        named += ["model.vision_encoder.name=timm_vit", "model.vision_encoder.dtype=float32",
                  f"model.vision_encoder.weights={tmp_path / 'donor/weights/vision_encoder'}"]  # fmt: skip
    import_checkpoint(source, tmp_path / "in", named, discover())
    export(tmp_path / "in", "lavis", tmp_path / "back.pth", discover())
    before, after = (torch.load(file, weights_only=True)["model"] for file in (source, tmp_path / "back.pth"))
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert tensor.dtype == after[name].dtype and torch.equal(tensor, after[name]), name
