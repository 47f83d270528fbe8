"""What transformers computes is what is computed here, whichever of the two a checkpoint comes from."""

from pathlib import Path
from typing import Any

import pytest
import torch
from mmbridge_blip2.hugging_face.format import HuggingFace
from mmbridge_registry import Generation
from toys.blip2_checkpoints import CLASSES, GEOMETRIES, pictures, write_blip2
from toys.blip2_parts import assembled, soft_prompt
from transformers import AutoProcessor

from mmbridge.model import BridgedModel

PROMPTS = ["a red circle", "what", ""]
TEXTS = ["a red circle", "a", "two dogs on the grass"]
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def reference(folder: Path, kind: Any) -> tuple[Any, Any]:
    model, loading = CLASSES[kind].from_pretrained(folder, output_loading_info=True)
    assert not any(loading.values()), loading
    return model.eval(), AutoProcessor.from_pretrained(folder)


@torch.no_grad()
def compare_texts(model: BridgedModel, folder: Path, kind: str) -> None:
    """Soft prompts, likelihoods, greedy and beam tokens, with prompts of different lengths in one batch."""
    hf, processor = reference(folder, kind)
    inputs = processor(images=pictures(3, (40, 30)), text=PROMPTS, padding=True, return_tensors="pt")
    prompt = soft_prompt(model, inputs["pixel_values"])
    torch.testing.assert_close(prompt, hf.get_image_features(inputs["pixel_values"]).pooler_output, **CLOSE)
    assert model.language_model is not None
    silent = [hf.config.image_token_index]
    for beams in (1, 3):
        ids = hf.generate(**inputs, max_new_tokens=6, num_beams=beams, suppress_tokens=silent)
        theirs = ids[:, inputs["input_ids"].shape[1] :] if kind == "opt" else ids
        said = [text.strip() for text in processor.batch_decode(theirs, skip_special_tokens=True)]
        assert model.language_model.generate(prompt, PROMPTS, Generation(beams=beams, max_new_tokens=6)) == said
    scores = model.language_model.score(prompt, PROMPTS, [["dog", "a cat"]] * 3)
    for row, text in enumerate(PROMPTS):
        one = processor(images=pictures(3, (40, 30))[row], text=text, return_tensors="pt")
        for place, candidate in enumerate(["dog", "a cat"]):
            expected = likelihood(hf, processor.tokenizer, one, kind, text, candidate)
            torch.testing.assert_close(scores[row][place], expected, **CLOSE)


def likelihood(hf: Any, tokenizer: Any, inputs: Any, kind: str, prompt: str, candidate: str) -> torch.Tensor:
    """Log-likelihood of an answer by transformers' logits alone."""
    if kind == "t5":
        target = tokenizer(candidate, return_tensors="pt")["input_ids"]
        start = torch.cat([torch.zeros(1, 1, dtype=torch.long), target[:, :-1]], 1)
        logits = hf(**inputs, decoder_input_ids=start).logits
    else:
        text = f" {candidate}\n" if prompt else f"{candidate}\n"
        target = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        ids = inputs["input_ids"] if prompt else inputs["input_ids"][:, :-1]
        if not prompt:  # without a prompt the opening `</s>` is a target as well
            target = torch.cat([inputs["input_ids"][:, -1:], target], 1)
        row = torch.cat([ids, target], 1)
        logits = hf(pixel_values=inputs["pixel_values"], input_ids=row).logits[:, ids.shape[1] - 1 : -1]
    return logits.log_softmax(-1).gather(2, target[..., None]).sum()


@torch.no_grad()
def compare_scores(model: BridgedModel, folder: Path) -> None:
    """Matching logits and cosines, texts of different lengths in one batch."""
    hf, processor = reference(folder, "retrieval")
    inputs = processor(images=pictures(3, (40, 30)), text=TEXTS, padding=True, return_tensors="pt")
    image = model.bridge.encode_image(model.vision_encoder(inputs["pixel_values"]))
    tokens = model.bridge.tokenizer(TEXTS)
    itm = hf(**inputs, use_image_text_matching_head=True).logits_per_image
    torch.testing.assert_close(model.bridge.match(image, tokens), itm, **CLOSE)
    text = model.bridge.embed_text(model.bridge.encode_text(tokens))
    cosines = torch.einsum("iqc,tc->iqt", model.bridge.embed_image(image), text).amax(1)
    torch.testing.assert_close(cosines, hf(**inputs).logits_per_image, **CLOSE)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("kind", ["opt", "t5"])
def test_an_imported_model_writes_what_transformers_writes(kind: Any, geometry: str, tmp_path: Path) -> None:
    folder = write_blip2(tmp_path / "hf", kind, GEOMETRIES[geometry])
    compare_texts(assembled(HuggingFace().read(folder), tmp_path / "parts"), folder, kind)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_an_imported_model_scores_what_transformers_scores(geometry: str, tmp_path: Path) -> None:
    folder = write_blip2(tmp_path / "hf", "retrieval", GEOMETRIES[geometry])
    compare_scores(assembled(HuggingFace().read(folder), tmp_path / "parts"), folder)


@pytest.mark.parametrize("every", [1, 2, 3])
@pytest.mark.parametrize("kind", ["opt", "t5"])
def test_transformers_writes_what_an_exported_model_writes(kind: str, every: int, ours: Any, tmp_path: Path) -> None:
    model = ours(kind, cross_attention_every=every)
    HuggingFace().write(model, tmp_path / "hf", "")
    compare_texts(model, tmp_path / "hf", kind)


@pytest.mark.parametrize("every", [1, 2])
def test_transformers_scores_what_an_exported_model_scores(every: int, ours: Any, tmp_path: Path) -> None:
    model = ours(None, cross_attention_every=every)
    HuggingFace().write(model, tmp_path / "hf", "")
    compare_scores(model, tmp_path / "hf")


@pytest.mark.parametrize("side", [28, 40, 17])
def test_its_processor_prepares_images_as_the_encoder_does(side: int, ours: Any, tmp_path: Path) -> None:
    """Nothing differs for an image of the right size; torch's resize on bytes and PIL's are one grey level apart."""
    model = ours(None)
    HuggingFace().write(model, tmp_path / "hf", "")
    image = pictures(1, (side, side))[0]
    there = AutoProcessor.from_pretrained(tmp_path / "hf")(images=image, return_tensors="pt")["pixel_values"][0]
    level = 1 / 255 / 0.1  # the smallest deviation of the toy's channels
    tolerance = 1e-5 if side == 28 else 1.01 * level
    torch.testing.assert_close(there, model.vision_encoder.transform(False)(image), rtol=0, atol=tolerance)
