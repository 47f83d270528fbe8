"""Exporting what a run has learned: transformers alone says the same words, and nothing is lost on the way back."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from mmbridge_registry import UserError
from mmbridge_registry.discovery import discover
from mmbridge_tiny_world import TinyWorldOptions, build_dataset
from safetensors.torch import load_file
from torch.testing import assert_close
from toys.tiny_run import write_run
from transformers import AutoProcessor, Blip2ForConditionalGeneration, Blip2ForImageTextRetrieval

import mmbridge
from mmbridge import checkpoint, cli
from mmbridge.data.images import open_image
from mmbridge.data.text import clean_caption
from mmbridge.exporting import export
from mmbridge.importing import import_checkpoint

SHORT = (
    "run.threads=1", "run.log_every=50", "~evaluate.retrieval", "~evaluate.answers",
    "~evaluate.captions_of_unseen_pairs",
    "stages.representation.steps=20", "stages.generation.steps=60", "stages.representation.batch_size=16",
    "stages.generation.batch_size=24", "evaluate.captions.data.size=16", "run.name=short",
)  # fmt: skip
HELD_OUT = [
    open_image(one.image) for one in map(build_dataset(TinyWorldOptions(split="test", size=24)).read, range(24))
]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("export")


@pytest.fixture(scope="module")
def trained(folder: Path) -> Path:
    """The embedded default, trained for a minute: it says something, and not the same of every picture."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with pytest.raises(SystemExit) as caught:
            cli.main(["run", "blip2_tiny_opt", *SHORT])
    assert not caught.value.code
    return folder / "runs" / "short"


@pytest.fixture(scope="module")
def exported(trained: Path, folder: Path) -> Path:
    export(trained, "hf", folder / "hf", discover())
    return folder / "hf"


def test_transformers_alone_says_the_same_words(trained: Path, exported: Path) -> None:
    prompt = "a picture of"
    model: Any = Blip2ForConditionalGeneration.from_pretrained(exported)
    processor: Any = AutoProcessor.from_pretrained(exported)
    given = processor(images=HELD_OUT, text=[prompt] * len(HELD_OUT), return_tensors="pt")
    ids = model.generate(**given, max_new_tokens=20)
    words = processor.batch_decode(ids[:, given["input_ids"].shape[1] :], skip_special_tokens=True)
    ours = mmbridge.load(trained).caption(HELD_OUT, prompt)
    assert [text.strip() for text in words] == ours
    assert len(set(ours)) > 3


def test_the_stage_before_is_exported_as_a_retrieval_model_with_the_same_scores(trained: Path, folder: Path) -> None:
    export(trained, "hf", folder / "retrieval", discover(), stage="representation")
    model: Any = Blip2ForImageTextRetrieval.from_pretrained(folder / "retrieval")
    processor: Any = AutoProcessor.from_pretrained(folder / "retrieval")
    texts = [clean_caption(text) for text in ("a red circle", "there is a small blue star on a dark background")]
    ours = mmbridge.load(trained, "representation")
    given = processor(images=HELD_OUT[:2], text=texts, return_tensors="pt", padding=True)
    with torch.no_grad():
        cosines = model(**given, use_image_text_matching_head=False).logits_per_image
        shares = model(**given, use_image_text_matching_head=True).logits_per_image.softmax(-1)[:, 1]
    matched = ours.match(HELD_OUT[:2], texts)
    assert_close(cosines, ours.similarity(HELD_OUT[:2], texts), atol=1e-5, rtol=0)
    assert_close(shares, matched.itm, atol=1e-5, rtol=0)
    assert_close(cosines.diagonal(), matched.itc, atol=1e-5, rtol=0)


def test_a_text_half_that_was_left_behind_is_refused(trained: Path) -> None:
    """The second stage moves the queries on; what the first has taught the text half no longer fits them."""
    last, first = mmbridge.load(trained), mmbridge.load(trained, "representation")
    for ask in (last.match, last.similarity):
        with pytest.raises(UserError, match=r"moved away from its text half.*--stage NAME"):
            ask(HELD_OUT[:1], ["a picture of a red circle"])
    assert 0 <= first.match(HELD_OUT[:1], ["a picture of a red circle"]).itm.item() <= 1


def test_a_way_there_and_back_changes_no_tensor(trained: Path, exported: Path, folder: Path) -> None:
    import_checkpoint(exported, folder / "back", [], discover())
    there, back = (mmbridge.load(path).bridged for path in (trained, folder / "back"))
    for name, tensor in there.kept().items():
        assert torch.equal(tensor, back.tensors()[name]), name
    assert back.learned >= {name for name in there.kept() if name.startswith("bridge.")}
    with pytest.raises(UserError, match="moved away from its text half"):
        mmbridge.load(folder / "back").match(HELD_OUT[:1], ["a picture of a red circle"])
    assert mmbridge.load(folder / "back").caption(HELD_OUT[:4]) == mmbridge.load(trained).caption(HELD_OUT[:4])


def test_lavis_and_back_changes_no_tensor(trained: Path, folder: Path) -> None:
    from mmbridge_tiny_world import WEIGHTS

    report = export(trained, "lavis", folder / "bridge.pth", discover())
    assert (folder / "bridge.pth.md").exists()
    assert any("language model" in note for note in report.notes)
    named = ["model.vision_encoder.name=timm_vit", f"model.vision_encoder.weights={WEIGHTS / 'eva'}",
             f"model.language_model.weights={WEIGHTS / 'opt'}", "model.bridge.heads=4"]  # fmt: skip
    import_checkpoint(folder / "bridge.pth", folder / "from_lavis", named, discover())
    there, back = (mmbridge.load(path).bridged for path in (trained, folder / "from_lavis"))
    for name, tensor in there.kept().items():
        assert torch.equal(tensor, back.tensors()[name]), name


def test_the_card_says_what_it_is_and_how_good(exported: Path) -> None:
    card = (exported / "README.md").read_text()
    for said in ("tiny/eva", "tiny_world", "| captions | attributes |", "of `generation`", "Limits", "seed 0"):
        assert said in card


def test_what_does_not_fit_is_refused_with_the_reason(
    trained: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, said in (
        ((trained, folder / "hf", "--to", "hf"), "exists already"),
        ((trained, folder / "new", "--to", "gguf"), "known: hf, lavis"),
        ((trained, folder / "new", "--to", "hf", "--stage", "third"), "no stage 'third'"),
        ((folder / "nothing", folder / "new", "--to", "hf"), "not a run directory"),
    ):
        with pytest.raises(SystemExit) as caught:
            cli.main(["export", *map(str, arguments)])
        assert caught.value.code == 2
        assert said in capsys.readouterr().err
    assert not (folder / "new").exists()
    assert not list(folder.glob("*.tmp"))


def test_the_command_prints_what_has_no_place(trained: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["export", str(trained), str(folder / "again"), "--to", "hf", "--json"])
    assert not caught.value.code
    report = json.loads(capsys.readouterr().out)
    assert any("temp" in lost for lost in report["lost"])
    assert (folder / "again" / "mmbridge.json").exists()


def test_one_checkpoint_of_a_run_is_exported_by_its_path(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    (last,) = (run / "checkpoints" / "generation").iterdir()
    moved = {name: tensor + 1 for name, tensor in checkpoint.read(last).weights().items()}
    state = {"stage": "generation", "step": 1, "learned": sorted(moved)}
    earlier = checkpoint.write(last.parent, checkpoint.Snapshot.of(moved, state), keep=2)
    result = {"value": 0.5, "chance": 0.1, "n": 8, "protocol": "greedy", "step": checkpoint.read(last).step}
    (run / "evaluation.json").write_text(json.dumps({"generation/captions/attributes": result}))
    for source in (earlier, last, run):
        export(source, "hf", tmp_path / f"of {source.name}", discover())
    first, second, newest = (
        load_file(tmp_path / f"of {source.name}" / "model.safetensors")["query_tokens"]
        for source in (earlier, last, run)
    )
    assert torch.equal(second, newest)
    assert_close(first, second + 1)
    cards = [(tmp_path / f"of {source.name}" / "README.md").read_text() for source in (earlier, last)]
    assert "after step 1 of `generation`" in cards[0]
    assert ["| attributes |" in card for card in cards] == [False, True], "results are those of the checkpoint"
    with pytest.raises(UserError, match="a checkpoint of stage 'generation', not of 'representation'"):
        export(earlier, "hf", tmp_path / "no", discover(), stage="representation")
