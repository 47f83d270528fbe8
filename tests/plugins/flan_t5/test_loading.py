"""Getting a FlanT5: what is accepted, what is refused, what stays frozen."""

import json
import shutil

import pytest
import torch
from mmbridge_flan_t5 import FlanT5Options, build_flan_t5
from mmbridge_flan_t5.geometries import GEOMETRIES
from mmbridge_registry import Generation, UserError
from pydantic import ValidationError
from safetensors.torch import load_file
from toys.hostile_folder import TRAPS, change, cut, drop
from transformers.activations import ACT2FN

PUBLISHED = {
    "flan-t5-small": 76_961_152,
    "flan-t5-base": 247_577_856,
    "flan-t5-large": 783_150_080,
    "flan-t5-xl": 2_849_757_184,
    "flan-t5-xxl": 11_135_332_352,
}


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def arithmetic(width, d_kv, d_ff, layers, heads) -> int:
    """Count T5 v1.1's parameters: two tables, gated feed-forward, no bias anywhere."""
    attention, feed_forward = 4 * width * d_kv * heads, 3 * width * d_ff
    encoder = layers * (attention + feed_forward + 2 * width)
    decoder = layers * (2 * attention + feed_forward + 3 * width)
    return 2 * 32128 * width + encoder + decoder + 2 * (width + 32 * heads)


@pytest.mark.parametrize("name", PUBLISHED)
def test_random_geometry_on_meta_counts_as_published(name):
    with torch.device("meta"):
        t5 = build_flan_t5(FlanT5Options(weights="random", architecture=name, dtype="bfloat16"))
    g = GEOMETRIES[name]
    assert sum(p.numel() for p in t5.parameters()) == PUBLISHED[name]
    assert PUBLISHED[name] == arithmetic(g["d_model"], g["d_kv"], g["d_ff"], g["num_layers"], g["num_heads"])
    assert all(p.is_meta and p.dtype == torch.bfloat16 and not p.requires_grad for p in t5.parameters())
    assert t5.width == g["d_model"]
    assert t5.token_scale == 1.0


@pytest.mark.parametrize(("activation", "expected"), [("auto", "gelu"), ("gelu", "gelu"), ("config", "gelu_new")])
def test_published_geometries_get_the_exact_gelu(activation, expected):
    with torch.device("meta"):
        t5 = build_flan_t5(FlanT5Options(weights="random", architecture="flan-t5-small", activation=activation))
    assert t5.lm.config.dense_act_fn == expected
    kinds = {type(m.act).__name__ for m in t5.lm.modules() if hasattr(m, "wi_0")}
    assert kinds == {type(ACT2FN[expected]).__name__}


def test_a_folder_is_read_whole_with_both_tables(t5, folder):
    stored = load_file(folder / "model.safetensors")
    state = t5.lm.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in stored.items())
    assert not torch.equal(t5.lm.lm_head.weight, t5.lm.get_input_embeddings().weight)
    assert (t5.width, t5.kind) == (32, "encoder_decoder")


def test_a_folder_on_meta_is_not_read(copy):
    (copy / "model.safetensors").unlink()
    with torch.device("meta"):
        assert all(p.is_meta for p in build_flan_t5(FlanT5Options(weights=str(copy))).parameters())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_dtype_is_that_of_the_options(folder, dtype):
    t5 = build_flan_t5(FlanT5Options(weights=str(folder), dtype=dtype))
    assert {p.dtype for p in t5.parameters()} == {getattr(torch, dtype)}
    assert {p.dtype for p in t5.parameters()} <= t5.safe_dtypes


def test_float16_is_refused_with_the_reason(t5):
    with pytest.raises(ValidationError, match="overflows in float16"):
        FlanT5Options(weights="google/flan-t5-xl", dtype="float16")
    assert torch.float16 not in t5.safe_dtypes


def test_token_scale_is_the_size_of_embeddings(t5):
    assert t5.token_scale == pytest.approx(t5.lm.get_input_embeddings().weight.square().mean().sqrt().item())


def test_frozen_stays_frozen_and_in_eval(t5, soft_prompt):
    t5.train()
    assert not any(module.training for module in t5.modules())
    assert not any(parameter.requires_grad for parameter in t5.parameters())
    tokens = t5.tokenizer([""] * 4, ["the cat"] * 4)
    assert t5.loss(soft_prompt, tokens).total == t5.loss(soft_prompt, tokens).total


def test_what_is_made_trainable_trains(folder):
    t5 = build_flan_t5(FlanT5Options(weights=str(folder))).requires_grad_(True)
    assert t5.train().lm.training
    assert not t5.eval().lm.training


def test_settings_of_the_folder_do_not_leak(copy, t5, soft_prompt):
    leaky = {"num_beams": 4, "repetition_penalty": 9.0, "max_length": 5, "decoder_start_token_id": 7}
    (copy / "generation_config.json").write_text(json.dumps(leaky))
    settings = Generation(max_new_tokens=10)
    other = build_flan_t5(FlanT5Options(weights=str(copy)))
    assert other.generate(soft_prompt, ["a"] * 4, settings) == t5.generate(soft_prompt, ["a"] * 4, settings)


@pytest.mark.parametrize(
    ("breakage", "message"),
    [
        (lambda f: shutil.rmtree(f), "no config.json"),
        (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), r"pickled weights \(.bin\)"),
        (lambda f: (f / "model.safetensors").write_bytes(b"12345678901234567890"), "cannot be read"),
        (lambda f: (f / "config.json").write_text('{"model_type": "mt5"}'), "'mt5' model, not a T5"),
        (lambda f: drop(f, "decoder.final_layer_norm.weight"), "1 tensors are missing, first decoder.final_layer_norm"),
        (lambda f: change(f, d_ff=40), "cannot be read: tensors have other shapes than config.json says"),
        (cut, "cannot be read"),
        (lambda f: change(f, d_ff="wide"), "cannot be read: .*'d_ff' expected int"),
        (lambda f: change(f, feed_forward_proj="gated-exec", dense_act_fn="exec"), "cannot be read"),
        (lambda f: (f / "config.json").write_text("{"), "not JSON"),
    ],
)
def test_a_broken_folder_is_refused(copy, breakage, message):
    breakage(copy)
    with pytest.raises(UserError, match=message) as error:
        build_flan_t5(FlanT5Options(weights=str(copy)))
    assert str(copy) in error.value.where
    assert error.value.do
    assert len(str(error.value).splitlines()) == 1


def test_a_folder_of_another_geometry_than_named_is_refused(folder):
    with pytest.raises(UserError, match="not the geometry of flan-t5-xl"):
        build_flan_t5(FlanT5Options(weights=str(folder), architecture="flan-t5-xl"))


def test_architecture_comes_from_the_name():
    assert FlanT5Options(weights="google/flan-t5-xl").architecture == "flan-t5-xl"
    assert FlanT5Options(weights="google/flan-t5-xl@7d6315d").architecture == "flan-t5-xl"
    assert FlanT5Options(weights="tiny/t5").architecture is None


def test_random_without_architecture_is_refused():
    with pytest.raises(ValidationError, match="name an architecture"):
        FlanT5Options(weights="random")


@pytest.mark.parametrize("trap", TRAPS)
def test_what_a_stranger_left_is_never_run(copy, tmp_path, trap):
    trap(copy, tmp_path / "sprung")
    with pytest.raises(UserError) as error:
        build_flan_t5(FlanT5Options(weights=str(copy))).tokenizer([""], ["a"])
    assert len(str(error.value).splitlines()) == 1
    assert not (tmp_path / "sprung").exists()


def test_attention_from_a_hub_is_not_looked_for(copy, t5, soft_prompt):
    change(copy, _attn_implementation="stranger/attention", attn_implementation="stranger/attention")
    other = build_flan_t5(FlanT5Options(weights=str(copy)))
    settings = Generation(max_new_tokens=5)
    assert other.generate(soft_prompt, ["a"] * 4, settings) == t5.generate(soft_prompt, ["a"] * 4, settings)


@pytest.mark.parametrize("text", ["{", "[]", "", '{"model": 1}'])
def test_a_broken_tokenizer_is_told_in_one_line(copy, text):
    (copy / "tokenizer.json").write_text(text)
    with pytest.raises(UserError, match="no tokenizer") as error:
        build_flan_t5(FlanT5Options(weights=str(copy))).tokenizer([""], ["a"])
    assert len(str(error.value).splitlines()) == 1
