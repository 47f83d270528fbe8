"""More traps of transformers' BLIP-2: pairs of images and texts, epsilons, and what configs leave out."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from mmbridge_blip2.hugging_face.folder import Folder
from mmbridge_blip2.hugging_face.format import HuggingFace
from mmbridge_blip2.hugging_face.side_file import SETTINGS
from mmbridge_blip2.hugging_face.vision import read_encoder
from mmbridge_registry import UserError
from safetensors.torch import load_file
from toys.blip2_checkpoints import edit_config, pictures, write_blip2
from toys.blip2_parts import assembled
from transformers import (
    AutoProcessor,
    Blip2ForConditionalGeneration,
    Blip2ForImageTextRetrieval,
    Blip2VisionConfig,
    Blip2VisionModel,
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


def test_pairs_are_scored_with_their_text(ours: Any, tmp_path: Path) -> None:
    """With a placeholder in the config, transformers cuts off as many ids as there are queries, text or not."""
    hf, processor = exported(ours(None), tmp_path / "hf")
    assert hf.config.image_token_index is None and processor.num_query_tokens is None

    def scores() -> list[torch.Tensor]:
        texts = ("[UNK] dog", "[UNK] red")
        inputs = [processor(images=pictures(1), text=text, return_tensors="pt") for text in texts]
        return [hf(**each, use_image_text_matching_head=True).logits_per_image for each in inputs]

    assert not torch.allclose(*scores())
    hf.config.image_token_index = 200
    assert torch.equal(*scores())  # the trap


def test_a_retrieval_folder_with_placeholders_is_read_as_what_it_is(tmp_path: Path) -> None:
    """The hub's own folders have them. Weights are the same, and no placeholder gets into the words."""
    plain = write_blip2(tmp_path / "plain", "retrieval")
    placed = write_blip2(tmp_path / "placed", "retrieval", image_token_index=200)
    one, other = (HuggingFace().read(folder) for folder in (plain, placed))
    assert one.model == other.model
    assert all(torch.equal(tensor, other.bridge[name]) for name, tensor in one.bridge.items())
    model = assembled(other, tmp_path / "parts")
    tokens = model.bridge.tokenizer(["a red <image> circle"])
    assert int(tokens.ids.max()) < 200 == other.model["bridge"]["vocabulary"]


def test_an_imported_tokenizer_lives_as_long_as_the_import(tmp_path: Path) -> None:
    source = write_blip2(tmp_path / "hf", "retrieval")
    imported = HuggingFace().read(source)
    cleaned = imported.tokenizer
    assert cleaned is not None and cleaned != source and cleaned.exists()
    del imported
    assert not cleaned.exists()


def test_one_epsilon_for_two_norms_is_named(ours: Any, tmp_path: Path) -> None:
    model = ours(None, image_norm_eps=1e-2)
    report = HuggingFace().write(model, tmp_path / "hf", "")
    assert any("image_norm_eps 0.01" in line and "0.0001" in line for line in report.lost)
    assert json.loads((tmp_path / "hf" / SETTINGS).read_text()) == {"image_norm_eps": 0.01}
    same = ours(None, image_norm_eps=1e-4, encoder=model.vision_encoder)
    assert not any("eps" in line for line in HuggingFace().write(same, tmp_path / "same", "").lost)
    assert not (tmp_path / "same" / SETTINGS).exists()


def test_a_softmax_is_taken_once(ours: Any, tmp_path: Path) -> None:
    """transformers' example takes two, and shows 73 % for a certain match; the report says so."""
    sure = torch.tensor([[-20.0, 20.0]])
    assert float(sure.softmax(1).softmax(1)[0, 1]) == pytest.approx(0.731, abs=1e-3)
    report = HuggingFace().write(ours(None), tmp_path / "hf", "")
    assert any("one softmax" in note for note in report.notes)


def test_a_stage_before_the_projection_is_trained_becomes_a_retrieval_model(ours: Any, tmp_path: Path) -> None:
    model = ours("opt")
    model.learned = {name for name in model.learned if not name.startswith("projection.")}
    report = HuggingFace().write(model, tmp_path / "hf", "")
    assert "Blip2ForImageTextRetrieval" in report.title
    assert any("language model is left out" in note for note in report.notes)
    assert not any(name.startswith("language") for name in load_file(tmp_path / "hf" / "model.safetensors"))


def test_eva_g_is_told_by_its_geometry(tmp_path: Path) -> None:
    config = Blip2VisionConfig()
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in Blip2VisionModel(config).state_dict().items()}
    tensors = {f"vision_model.{name}": torch.zeros(()).expand(shape) for name, shape in shapes.items()}
    part = read_encoder(Folder(tmp_path, {"vision_config": config.to_dict()}, tensors, ""))
    assert part.section == {"name": "eva_vit_g", "output_layer": -1, "norm_eps": 1e-6, "dtype": "float32"}
    assert part.published is not None
    sizes = part.published.config["model_args"]
    assert (sizes["depth"], sizes["img_size"], int(sizes["embed_dim"] * sizes["mlp_ratio"])) == (39, 224, 6144)
    source = write_blip2(tmp_path / "hf", "opt")
    assert HuggingFace().read(source).model["vision_encoder"]["name"] == "timm_vit"


def test_a_config_that_leaves_out_what_its_class_says_is_read_with_a_note(tmp_path: Path) -> None:
    """As the hub has them: sizes come from tensors; the number of heads, which no tensor tells, from the class."""
    import dataclasses

    from toys.blip2_checkpoints import PLAIN

    wide = dataclasses.replace(
        PLAIN,
        vision={**PLAIN.vision, "hidden_size": 32, "num_attention_heads": 16},
        qformer={**PLAIN.qformer, "hidden_size": 24, "num_attention_heads": 12},
    )
    source = write_blip2(tmp_path / "hf", "opt", wide)
    full = HuggingFace().read(source)
    for part in ("vision_config", "qformer_config"):
        config = json.loads((source / "config.json").read_text())[part]
        left_out = {key: ... for key in config if key not in {"layer_norm_eps", "model_type"}}
        edit_config(source, part, **left_out)
    spare = HuggingFace().read(source)
    assert spare.towers["vision_encoder"].config == full.towers["vision_encoder"].config
    same = {key: value for key, value in full.model["bridge"].items() if key not in {"vocabulary", "positions"}}
    assert {key: spare.model["bridge"][key] for key in same} == same
    assert sum("num_attention_heads" in note for note in spare.notes) == 2


@pytest.mark.parametrize("written", ["4.47.0.dev0", "5.23.0"])
def test_the_published_configs_leave_out_the_epsilons_and_are_read_with_a_note(written: str, tmp_path: Path) -> None:
    """So the hub has them (blip2-opt-2.7b, blip2-flan-t5-xl, by 4.47.0.dev0): the class's default is BLIP-2's own."""
    source = write_blip2(tmp_path / "hf", "t5")
    edit_config(source, transformers_version=written)
    for part, key in (
        ("vision_config", "layer_norm_eps"), ("qformer_config", "layer_norm_eps"), ("text_config", "layer_norm_epsilon")
    ):  # fmt: skip
        edit_config(source, part, **{key: ...})
    imported = HuggingFace().read(source)
    assert imported.model["vision_encoder"]["norm_eps"] == imported.model["bridge"]["image_norm_eps"] == 1e-6
    assert imported.model["bridge"]["norm_eps"] == 1e-12
    assert sum("does not say layer_norm_eps" in note for note in imported.notes) == 3


@pytest.mark.parametrize("written", ["4.31.0", "junk", None, 5])
def test_an_epsilon_that_nobody_vouches_for_is_never_guessed(written: object, tmp_path: Path) -> None:
    source = write_blip2(tmp_path / "hf", "opt")
    edit_config(source, transformers_version=written)
    edit_config(source, "vision_config", layer_norm_eps=...)
    with pytest.raises(UserError, match="never guessed"):
        HuggingFace().read(source)
