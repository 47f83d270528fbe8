"""What is not LAVIS' BLIP-2, or not whole: refused by what it is, or by the tensor that is wrong."""

import pytest
import torch
from mmbridge_blip2.lavis.format import Lavis
from mmbridge_registry import UserError
from toys import lavis_files
from toys.lavis_files import CLIP, Sizes

ONE = torch.ones(1)


def refuse(file, state, message):
    torch.save({"model": state}, file)
    assert Lavis().recognises(file)
    with pytest.raises(UserError, match=message) as caught:
        Lavis().read(file)
    assert str(file) in str(caught.value)


def bare(*names):
    return dict.fromkeys(names, ONE)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (lavis_files.eva_encoder(Sizes(), ""), r"is ViT-g alone .* hub id: timm/eva_giant_patch14_clip_224\.laion400m"),
        (lavis_files.clip_encoder(CLIP, ""), r"CLIP's image half alone .* hub id: timm/vit_large_patch14_clip_224"),
        (bare("query_tokens", "language_projection.weight", "qformer.layernorm.bias"), "the layout of transformers"),
        (bare("vision_model.embeddings.class_embedding"), "the layout of transformers"),
        (bare("cls_token", "blocks.0.attn.qkv.bias"), "the layout of timm"),
        (bare("visual.conv1.weight", "token_embedding.weight"), "the layout of open_clip"),
        (bare("text_decoder.bert.x", "visual_encoder.blocks.0.attn.qkv.bias"), "older BLIP or ALBEF"),
        (bare("bert.embeddings.word_embeddings.weight"), "the layout of a BERT"),
        (bare("module.query_tokens", "module.Qformer.bert.x"), "inside DistributedDataParallel"),
        (bare("llama_proj.weight", "query_tokens"), "a MiniGPT-4"),
        (bare("fc.weight"), "no layout that is known: a tensor is called 'fc.weight'"),
        (lavis_files.state("t5") | bare("llm_proj.weight"), "an InstructBLIP, whose Q-Former reads the question"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_other_layouts_are_told(state, message, tmp_path):
    refuse(tmp_path / "x.pth", state, message)


def test_instructblip_with_t5_is_told_by_its_text_networks(tmp_path):
    heads = ("itm_head", "vision_proj", "text_proj", "temp", "Qformer.cls")
    state = lavis_files.state("stage1") | lavis_files.projection("t5", Sizes())
    state = {name: tensor for name, tensor in state.items() if not name.startswith(heads)}
    refuse(tmp_path / "x.pth", state, "an InstructBLIP")


def test_both_stages_in_one_file_are_no_instructblip(tmp_path):
    torch.save(lavis_files.state("stage1") | lavis_files.projection("t5", Sizes()), tmp_path / "x.pth")
    assert Lavis().read(tmp_path / "x.pth").title == "LAVIS stage 1 and stage 2, an encoder of width 176, FlanT5"


LAYER = "Qformer.bert.encoder.layer"


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("ln_vision.bias", None, r"lacks ln_vision\.bias\."),
        (f"{LAYER}.1.attention.self.key.weight", None, r"lacks .*layer\.1\.attention\.self\.key\.weight"),
        (f"{LAYER}.1.output_query.dense.bias", torch.ones(3), r"output_query\.dense\.bias has shape \[3\]"),
        (f"{LAYER}.2.crossattention.self.key.weight", torch.ones(128, 9), r"shape \[128, 9\], .* want \[128, 176\]"),
        (f"{LAYER}.2.crossattention.self.key.weight", None, r"lacks .*layer\.2\.crossattention\.self\.key"),
        (f"{LAYER}.7.attention.self.key.weight", ONE, "does not count from 0 without a gap"),
        (f"{LAYER}.x.attention.self.key.weight", ONE, "does not count from 0 without a gap"),
        (f"{LAYER}.1.crossattention.self.key.weight", ONE, r"it lacks|no regular pattern|has shape"),
        ("query_tokens", torch.ones(5, 128), r"query_tokens has shape \[5, 128\]"),
        ("query_tokens", torch.ones(1, 0, 128), r"query_tokens has shape \[1, 0, 128\]"),
        ("query_tokens", torch.ones(1, 5, 64), r"the other tensors want"),
        ("temp", torch.ones(2), r"temp has shape \[2\]"),
        ("vision_proj.weight", torch.ones(7, 128), "the other tensors want"),
        ("Qformer.bert.embeddings.position_ids", torch.arange(40)[None] + 1, "does not count from 0"),
        ("Qformer.bert.embeddings.position_ids", torch.arange(39)[None], r"position_ids has shape \[1, 39\]"),
        ("Qformer.cls.predictions.decoder.weight", torch.ones(200, 128), "differs from .*word_embeddings"),
        ("Qformer.cls.predictions.decoder.bias", torch.ones(200), "differs from Qformer.cls.predictions.bias"),
    ],
)
def test_a_tensor_that_is_wrong_is_named(name, tensor, message, tmp_path):
    state = lavis_files.state("stage1")
    state.pop(name, None)
    refuse(tmp_path / "x.pth", state | ({} if tensor is None else {name: tensor}), message)


def test_cross_attention_in_odd_layers_is_refused(tmp_path):
    state = lavis_files.state("stage1", layers=4)
    for name in [name for name in state if "layer.2.crossattention" in name]:
        state[name.replace("layer.2", "layer.3")] = state.pop(name)
    torch.save(state, tmp_path / "x.pth")
    # 0 and 3 of four layers are every third: that is a pattern. 0, 1 and 3 are none.
    assert Lavis().read(tmp_path / "x.pth").model["bridge"]["cross_attention_every"] == 3
    for name in [name for name in state if "layer.3.crossattention" in name]:
        state[name.replace("layer.3", "layer.1")] = state[name]
    refuse(tmp_path / "x.pth", state, r"layers \[0, 1, 3\] look at the image, which is no regular pattern")


def test_two_projections_are_refused(tmp_path):
    state = lavis_files.state("t5") | lavis_files.projection("opt", Sizes())
    refuse(tmp_path / "x.pth", state, "projections to OPT and to T5")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"opt_proj.bias": None}, r"lacks opt_proj\.bias"),
        ({"opt_proj.weight": None}, r"lacks opt_proj\.weight"),
        ({"opt_proj.weight": torch.ones(32, 9)}, r"opt_proj\.weight has shape \[32, 9\]"),
        ({"opt_proj.bias": torch.ones(9)}, r"opt_proj\.bias has shape \[9\]"),
    ],
)
def test_a_damaged_projection_is_refused(change, message, tmp_path):
    state = lavis_files.state("opt") | change
    refuse(tmp_path / "x.pth", {name: tensor for name, tensor in state.items() if tensor is not None}, message)
