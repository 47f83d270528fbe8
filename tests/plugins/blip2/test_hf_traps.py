"""Traps of transformers' BLIP-2: each shown to be one with transformers alone, and not there in what is written."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from mmbridge_blip2.hugging_face.format import HuggingFace
from mmbridge_registry import Generation
from safetensors.torch import load_file
from toys.blip2_checkpoints import edit_config, pictures, write_blip2
from toys.blip2_parts import assembled, soft_prompt
from transformers import (
    AutoProcessor,
    Blip2ForConditionalGeneration,
    Blip2ForImageTextRetrieval,
)

PROMPTS = ["a red circle", "what"]


@pytest.fixture(autouse=True)
def _no_gradients() -> Any:
    with torch.no_grad():
        yield


def exported(model: Any, folder: Path) -> tuple[Any, Any]:
    HuggingFace().write(model, folder, "")
    written = model.language_model is not None
    kind = Blip2ForConditionalGeneration if written else Blip2ForImageTextRetrieval
    return kind.from_pretrained(folder).eval(), AutoProcessor.from_pretrained(folder)


def test_a_prompt_without_placeholders_does_not_see_the_image(ours: Any, tmp_path: Path) -> None:
    hf, processor = exported(ours("opt"), tmp_path / "hf")
    ids = processor(text="a red circle", return_tensors="pt")["input_ids"]
    blind = [hf(torch.randn(1, 3, 28, 28), ids).logits for _ in range(2)]
    assert torch.equal(*blind)  # the trap: no error, and no image
    seeing = [hf(**processor(images=image, text="a", return_tensors="pt")).logits for image in pictures(2)]
    assert not torch.allclose(*seeing)


@pytest.mark.parametrize("language", ["opt", "t5"])
def test_placeholders_are_as_many_as_queries_whatever_the_padding(language: str, ours: Any, tmp_path: Path) -> None:
    hf, processor = exported(ours(language), tmp_path / "hf")
    inputs = processor(images=pictures(2), text=PROMPTS, padding=True, return_tensors="pt")
    places = inputs["input_ids"] == hf.config.image_token_index
    assert places.sum(1).tolist() == [hf.config.num_query_tokens] * 2 == [4, 4]
    short = inputs["input_ids"][:, 1:]
    assert torch.isfinite(hf(inputs["pixel_values"], short, decoder_input_ids=short).logits).all()  # the trap: one lost


@pytest.mark.parametrize("language", ["opt", "t5"])
def test_rows_of_a_batch_are_answered_as_they_are_alone(language: str, ours: Any, tmp_path: Path) -> None:
    """Padding on the right before an answer changes it: OPT's tokenizer must pad on the left by itself."""
    hf, processor = exported(ours(language), tmp_path / "hf")

    def answers(images: Any, texts: list[str]) -> list[str]:
        inputs = processor(images=images, text=texts, padding=True, return_tensors="pt")
        ids = hf.generate(**inputs, max_new_tokens=6, min_new_tokens=6)[:, -6:]
        return processor.batch_decode(ids, skip_special_tokens=True)

    alone = [answers([image], [text])[0] for image, text in zip(pictures(2), PROMPTS, strict=True)]
    assert answers(pictures(2), PROMPTS) == alone
    assert processor.tokenizer.padding_side == {"opt": "left", "t5": "right"}[language]


@pytest.mark.parametrize("language", ["opt", "t5"])
def test_without_a_text_the_model_starts_as_with_an_empty_one(language: str, ours: Any, tmp_path: Path) -> None:
    model = ours(language)
    hf, processor = exported(model, tmp_path / "hf")
    pixels = processor(images=pictures(1), return_tensors="pt")["pixel_values"]
    ids = hf.generate(pixels, max_new_tokens=6, suppress_tokens=[hf.config.image_token_index])
    bare = processor.batch_decode(ids, skip_special_tokens=True)
    said = model.language_model.generate(soft_prompt(model, pixels), [""], Generation(max_new_tokens=6))
    assert [text.strip() for text in bare] == said


def test_opt_ends_with_a_newline_there_too(ours: Any, tmp_path: Path) -> None:
    hf, processor = exported(ours("opt"), tmp_path / "hf")
    newline = processor.tokenizer("\n", add_special_tokens=False)["input_ids"]
    assert [hf.language_model.generation_config.eos_token_id] == newline
    assert hf.generation_config.eos_token_id == newline[0]


def test_t5_starts_from_its_pad_token_there_too(ours: Any, tmp_path: Path) -> None:
    hf, processor = exported(ours("t5"), tmp_path / "hf")
    assert hf.language_model.generation_config.decoder_start_token_id == processor.tokenizer.pad_token_id == 0


@pytest.mark.parametrize("activation", ["gelu", "gelu_new"])
def test_t5_keeps_the_activation_that_is_in_force(activation: str, tmp_path: Path) -> None:
    """FlanT5 says `gated-gelu`, which transformers reads as the tanh approximation; the bridges had the exact one."""
    source = write_blip2(tmp_path / "hf", "t5")
    edit_config(source, "text_config", dense_act_fn=activation)
    model = assembled(HuggingFace().read(source), tmp_path / "parts")
    assert model.language_model is not None
    hf, _ = exported(model, tmp_path / "back")
    acts = {type(block.layer[-1].DenseReluDense.act).__name__ for block in hf.language_model.encoder.block}
    assert acts == {{"gelu": "GELUActivation", "gelu_new": "NewGELUActivation"}[activation]}
    assert hf.config.text_config.scale_decoder_outputs is False
    config = json.loads((tmp_path / "back" / "config.json").read_text())
    assert config["text_config"]["tie_word_embeddings"] is False  # by which versions before 5 tell two tables


@pytest.mark.parametrize("language", ["opt", "t5"])
def test_a_table_without_a_spare_row_grows_by_one_that_never_wins(language: str, ours: Any, tmp_path: Path) -> None:
    rows = {"opt": 393, "t5": 124}[language]
    model = ours(language, language_changes={"vocab_size": rows, "tie_word_embeddings": True})
    report = HuggingFace().write(model, tmp_path / "hf", "")
    assert any(f"grew to {rows + 1} rows" in note for note in report.notes)
    hf = Blip2ForConditionalGeneration.from_pretrained(tmp_path / "hf").eval()
    processor = AutoProcessor.from_pretrained(tmp_path / "hf")
    table = hf.get_input_embeddings().weight
    pad = hf.config.text_config.pad_token_id
    assert hf.config.image_token_index == rows == len(table) - 1
    assert torch.equal(table[:rows], model.language_model.lm.get_input_embeddings().weight)
    assert torch.equal(table[rows], table[pad])
    inputs = processor(images=pictures(2), text=PROMPTS, padding=True, return_tensors="pt")
    ids = hf.generate(**inputs, max_new_tokens=6)
    theirs = ids[:, inputs["input_ids"].shape[1] :] if language == "opt" else ids
    said = model.language_model.generate(
        soft_prompt(model, inputs["pixel_values"]), PROMPTS, Generation(max_new_tokens=6)
    )
    assert [text.strip() for text in processor.batch_decode(theirs, skip_special_tokens=True)] == said


def test_a_placeholder_is_never_written_with_the_settings_that_come_along(ours: Any, tmp_path: Path) -> None:
    model = ours("opt")
    model.language_model.lm.get_input_embeddings().weight[393] = 0
    folder = tmp_path / "hf"
    HuggingFace().write(model, folder, "")
    hf, processor = Blip2ForConditionalGeneration.from_pretrained(folder).eval(), AutoProcessor.from_pretrained(folder)
    head = hf.language_model.lm_head
    head.register_forward_hook(lambda _, __, logits: logits.index_fill(-1, torch.tensor([393]), 1e4))
    inputs = processor(images=pictures(1), text="a", return_tensors="pt")
    length = inputs["input_ids"].shape[1]
    assert (hf.generate(**inputs, max_new_tokens=4)[:, length:] == 393).all()  # the trap: the file is not read
    ids = hf.generate(**inputs, generation_config=hf.generation_config)[:, length:]
    assert ids.shape[1] > 0 and (ids != 393).all()


def test_queries_are_never_the_zeros_of_transformers(ours: Any, tmp_path: Path) -> None:
    HuggingFace().write(ours("opt"), tmp_path / "hf", "")
    assert load_file(tmp_path / "hf" / "model.safetensors")["query_tokens"].std() > 0.1


def test_a_conversation_has_blip2s_form(ours: Any, tmp_path: Path) -> None:
    _, processor = exported(ours("t5"), tmp_path / "hf")
    seen = [{"type": "image"}, {"type": "text", "text": "what is it?"}]
    said = [
        {"role": "user", "content": seen},
        {"role": "assistant", "content": "a dog"},
        {"role": "user", "content": "which colour?"},
    ]
    written = processor.tokenizer.apply_chat_template(said, tokenize=False)
    assert written == "Question: what is it? Answer: a dog. Question: which colour? Answer:"
    only_image = [{"role": "user", "content": [{"type": "image"}]}]
    assert processor.tokenizer.apply_chat_template(only_image, tokenize=False) == ""
