"""What has no place in transformers' BLIP-2 is not exported, and the message says why."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from mmbridge_blip2.hugging_face.format import HuggingFace
from mmbridge_registry import Published, UserError
from mmbridge_registry.discovery import discover
from mmbridge_registry.published import TIMM
from toys.blip2_parts import build
from toys.tiny_opt import write_opt
from toys.whole_bridge import WholeBridge

from mmbridge.model import BridgedModel


def not_exported(model: Any, folder: Path, *words: str) -> None:
    with pytest.raises(UserError) as caught:
        HuggingFace().write(model, folder / "out", "")
    assert not (folder / "out").exists()
    for word in words:
        assert word in str(caught.value)


def test_an_encoder_of_another_layout(ours: Any, tmp_path: Path) -> None:
    clip = build("vision_encoder", {"name": "clip_vit"}, weights=str(discover().catalog.shipped("tiny/vit")))
    not_exported(ours(None, encoder=clip), tmp_path, "encoder", "open_clip")


@pytest.mark.parametrize(
    ("architecture", "word"),
    [
        ("vit_tiny_patch16_224", "attn.q_bias"),
        ("vit_base_patch16_clip_224", "not EVA's"),
        ("beitv2_base_patch16_224", ""),
        ("eva02_tiny_patch14_224", ""),
        ("eva02_enormous_patch14_clip_224", "orders its blocks"),
    ],
)
def test_an_encoder_that_computes_something_else(architecture: str, word: str, ours: Any, tmp_path: Path) -> None:
    sizes = {"img_size": 28, "patch_size": 14, "embed_dim": 24, "depth": 2, "num_heads": 3}
    vit: Any = timm.create_model(architecture, num_classes=0, **sizes)
    vit.prune_intermediate_layers([1], prune_norm=True, prune_head=True)
    config = {"architecture": architecture, "model_args": sizes, "pretrained_cfg": {}, "activation": "GELU"}
    model = ours(None)
    published = Published(TIMM, config, dict(vit.named_parameters()))
    model.vision_encoder.published = lambda: published
    not_exported(model, tmp_path, "no place for this encoder", word)


def test_an_encoder_with_another_activation_or_a_tensor_too_many(ours: Any, tmp_path: Path) -> None:
    model = ours(None)
    plain = model.vision_encoder.published()
    changed = replace(plain, config={**plain.config, "activation": "QuickGELU"})
    model.vision_encoder.published = lambda: changed
    not_exported(model, tmp_path, "QuickGELU")
    more = replace(plain, tensors={**plain.tensors, "blocks.0.gamma_1": torch.ones(24)})
    model.vision_encoder.published = lambda: more
    not_exported(model, tmp_path, "blocks.0.gamma_1 would be left over")
    model.vision_encoder.published = lambda: None
    not_exported(model, tmp_path, "no library's")


def test_a_bridge_that_nobody_else_knows(ours: Any, tmp_path: Path) -> None:
    model = ours(None)
    model.bridge = WholeBridge()
    not_exported(model, tmp_path, "WholeBridge")


def test_another_language_model_or_one_without_words(ours: Any, tmp_path: Path) -> None:
    model = ours("opt")
    plain = model.language_model.published()
    other = replace(plain, config={**plain.config, "model_type": "gpt2"})
    model.language_model.published = lambda: other
    not_exported(model, tmp_path, "gpt2")
    model.language_model.published = lambda: replace(plain, tokenizer=None)
    not_exported(model, tmp_path, "no tokenizer")
    model.language_model.published = lambda: None
    not_exported(model, tmp_path, "language model")


def test_another_projection(ours: Any, tmp_path: Path) -> None:
    model = ours("opt")
    model.projection = torch.nn.Linear(18, 32, bias=False)
    not_exported(model, tmp_path, "one linear layer")


def test_a_language_model_that_reads_narrower_tokens_than_it_computes(ours: Any, tmp_path: Path) -> None:
    other = build("language_model", {"name": "opt"}, weights=str(write_opt(tmp_path / "350m", word_embed_proj_dim=16)))
    plain = ours(None)
    model = BridgedModel(plain.vision_encoder, plain.bridge, other)
    model.learned = {"projection.weight", "projection.bias"}
    not_exported(model, tmp_path, "width 16 and computes in 32")


def test_a_q_former_without_words_scores_no_text(ours: Any, tmp_path: Path) -> None:
    model = ours(None)
    plain = model.bridge.published()
    model.bridge.published = lambda: replace(plain, tokenizer=None)
    not_exported(model, tmp_path, "the Q-Former has no tokenizer")
