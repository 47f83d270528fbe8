"""A folder of transformers, all the way through beside transformers itself: imported, loaded, asked, exported again."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from mmbridge_registry import Generation, UserError
from mmbridge_registry.discovery import discover
from safetensors.torch import load_file
from torch.testing import assert_close
from toys.blip2_checkpoints import GEOMETRIES, pictures, write_blip2
from transformers import AutoProcessor, Blip2ForConditionalGeneration, Blip2ForImageTextRetrieval

import mmbridge
from mmbridge import cli
from mmbridge.exporting import export
from mmbridge.importing import import_checkpoint

PICTURES = pictures(3)
PROMPTS = ["", "a cat on", "Question: what? Answer:"]
TEXTS = ["a cat", "two dogs on the grass", "a"]


def imported(source: Path, out: Path) -> Path:
    import_checkpoint(source, out, [], discover())
    return out


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("kind", ["opt", "t5"])
@pytest.mark.parametrize("beams", [1, 3])
def test_it_writes_the_same_words(kind: Any, geometry: str, beams: int, tmp_path: Path) -> None:
    source = write_blip2(tmp_path / "theirs", kind, GEOMETRIES[geometry])
    theirs: Any = Blip2ForConditionalGeneration.from_pretrained(source).eval()
    processor: Any = AutoProcessor.from_pretrained(source)
    given = processor(images=PICTURES, text=PROMPTS, return_tensors="pt", padding=True)
    ours = mmbridge.load(imported(source, tmp_path / "ours"))
    silent = list(ours.bridged.language_model.text.vocabulary.silent)  # type: ignore[union-attr]
    ids = theirs.generate(**given, max_new_tokens=8, num_beams=beams, suppress_tokens=silent)
    words = processor.batch_decode(
        ids if kind == "t5" else ids[:, given["input_ids"].shape[1] :], skip_special_tokens=True
    )
    said = ours.caption(PICTURES, PROMPTS, Generation(max_new_tokens=8, beams=beams))
    assert said == [text.strip() for text in words]
    assert len(set(said)) > 1


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_it_scores_the_same_pairs(geometry: str, tmp_path: Path) -> None:
    source = write_blip2(tmp_path / "theirs", "retrieval", GEOMETRIES[geometry])
    theirs: Any = Blip2ForImageTextRetrieval.from_pretrained(source).eval()
    ours = mmbridge.load(imported(source, tmp_path / "ours"))
    tokens = ours.tokens(TEXTS)
    pixels = torch.stack([ours.bridged.vision_encoder.transform(train=False)(picture) for picture in PICTURES])
    given = {"pixel_values": pixels, "input_ids": tokens.ids, "attention_mask": tokens.mask.long()}
    with torch.no_grad():
        cosines = theirs(**given, use_image_text_matching_head=False).logits_per_image
        logits = theirs(**given, use_image_text_matching_head=True).logits_per_image
    matched = ours.match(PICTURES, TEXTS)
    assert_close(ours.similarity(PICTURES, TEXTS), cosines, atol=1e-5, rtol=0)
    assert_close(matched.itc, cosines.diagonal(), atol=1e-5, rtol=0)
    assert_close(matched.itm, logits.softmax(-1)[:, 1], atol=1e-5, rtol=0)
    with pytest.raises(UserError, match="temperature"):
        _ = ours.temperature


@pytest.mark.parametrize("kind", ["opt", "t5", "retrieval", "backbone"])
def test_it_goes_back_tensor_for_tensor(kind: Any, tmp_path: Path) -> None:
    source = write_blip2(tmp_path / "theirs", kind)
    export(imported(source, tmp_path / "ours"), "hf", tmp_path / "back", discover())
    before, after = (load_file(folder / "model.safetensors") for folder in (source, tmp_path / "back"))
    prefix = next(name.removesuffix("query_tokens") for name in before if name.endswith("query_tokens"))
    before = {name.removeprefix(prefix): tensor for name, tensor in before.items()}
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert tensor.dtype == after[name].dtype and torch.equal(tensor, after[name]), name


def test_the_commands_do_all_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def call(*words: object) -> str:
        with pytest.raises(SystemExit) as caught:
            cli.main([str(word) for word in words])
        assert not caught.value.code, capsys.readouterr().err
        return capsys.readouterr().out

    PICTURES[0].save(tmp_path / "picture.png")
    report = json.loads(call("import", write_blip2(tmp_path / "t5", "t5"), "--out", tmp_path / "in", "--json"))
    assert report["title"].endswith("Blip2ForConditionalGeneration, T5") and any(
        "text" in one for one in report["notes"]
    )
    (line,) = call("caption", tmp_path / "in", tmp_path / "picture.png", "--json").splitlines()
    assert json.loads(line).keys() == {"image", "caption"}
    call("import", write_blip2(tmp_path / "itm", "retrieval"), "--out", tmp_path / "scores")
    lines = call("match", tmp_path / "scores", tmp_path / "picture.png", "a cat", "a dog", "--json").splitlines()
    assert [json.loads(line)["text"] for line in lines] == ["a cat", "a dog"]
    assert json.loads(lines[0]).keys() == {"image", "text", "itm", "itc"}
    assert "exported" in call("export", tmp_path / "in", tmp_path / "out", "--to", "hf")
    assert "exported" in call("export", tmp_path / "scores", tmp_path / "out.pth", "--to", "lavis")
