"""Getting an OPT: what is accepted, what is refused, what stays frozen."""

import json
import shutil
import time

import pytest
import torch
from mmbridge_opt import OptOptions, build_opt
from mmbridge_opt.geometries import GEOMETRIES
from mmbridge_registry import Generation, UserError
from pydantic import ValidationError
from safetensors.torch import load_file
from toys.hostile_folder import TRAPS, change, cut, drop

PUBLISHED = {
    "opt-125m": 125_239_296,
    "opt-350m": 331_196_416,
    "opt-1.3b": 1_315_758_080,
    "opt-2.7b": 2_651_596_800,
    "opt-6.7b": 6_658_473_984,
    "opt-13b": 12_853_473_280,
    "opt-30b": 29_974_540_288,
}


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def arithmetic(width, word_embed_proj_dim, ffn_dim, layers, do_layer_norm_before) -> int:
    """Count OPT's parameters from the paper's description."""
    tables = 50272 * word_embed_proj_dim + 2050 * width
    projections = 0 if word_embed_proj_dim == width else 2 * width * word_embed_proj_dim
    block = 4 * (width**2 + width) + 2 * width * ffn_dim + ffn_dim + width + 4 * width
    return tables + projections + layers * block + (2 * width if do_layer_norm_before else 0)


@pytest.mark.parametrize("name", PUBLISHED)
def test_random_geometry_on_meta_counts_as_published(name):
    start = time.monotonic()
    with torch.device("meta"):
        opt = build_opt(OptOptions(weights="random", architecture=name, dtype="bfloat16"))
    assert time.monotonic() - start < 20
    g = GEOMETRIES[name]
    assert sum(p.numel() for p in opt.parameters()) == PUBLISHED[name]
    assert PUBLISHED[name] == arithmetic(
        g["hidden_size"], g["word_embed_proj_dim"], g["ffn_dim"], g["num_hidden_layers"], g["do_layer_norm_before"]
    )
    assert all(p.is_meta and p.dtype == torch.bfloat16 for p in opt.parameters())
    assert opt.width == g["word_embed_proj_dim"]
    assert opt.token_scale == 1.0


def test_a_folder_is_read_whole(opt, folder):
    stored = load_file(folder / "model.safetensors")
    state = opt.lm.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in stored.items())
    assert opt.lm.lm_head.weight is opt.lm.get_input_embeddings().weight
    assert (opt.width, opt.kind) == (32, "decoder")


def test_a_folder_on_meta_is_not_read(copy):
    (copy / "model.safetensors").unlink()
    with torch.device("meta"):
        assert all(p.is_meta for p in build_opt(OptOptions(weights=str(copy))).parameters())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_dtype_is_that_of_the_options(folder, dtype):
    opt = build_opt(OptOptions(weights=str(folder), dtype=dtype))
    assert {p.dtype for p in opt.parameters()} == {getattr(torch, dtype)}
    assert {p.dtype for p in opt.parameters()} <= opt.safe_dtypes


def test_token_scale_is_the_size_of_embeddings(opt):
    assert opt.token_scale == pytest.approx(opt.lm.get_input_embeddings().weight.square().mean().sqrt().item())


def test_frozen_stays_frozen_and_in_eval(opt, soft_prompt):
    opt.train()
    assert not any(module.training for module in opt.modules())
    assert not any(parameter.requires_grad for parameter in opt.parameters())
    tokens = opt.tokenizer([""] * 4, ["the cat"] * 4)
    assert opt.loss(soft_prompt, tokens).total == opt.loss(soft_prompt, tokens).total


def test_what_is_made_trainable_trains(folder):
    opt = build_opt(OptOptions(weights=str(folder))).requires_grad_(True)
    assert opt.train().lm.training
    assert not opt.eval().lm.training


def test_settings_of_the_folder_do_not_leak(copy, opt, soft_prompt):
    (copy / "generation_config.json").write_text(
        json.dumps({"num_beams": 4, "repetition_penalty": 9.0, "max_length": 5})
    )
    settings = Generation(max_new_tokens=10)
    other = build_opt(OptOptions(weights=str(copy)))
    assert other.generate(soft_prompt, ["a"] * 4, settings) == opt.generate(soft_prompt, ["a"] * 4, settings)


@pytest.mark.parametrize(
    ("breakage", "message"),
    [
        (lambda f: shutil.rmtree(f), "no config.json"),
        (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), r"pickled weights \(.bin\)"),
        (lambda f: (f / "model.safetensors").write_bytes(b"12345678901234567890"), "cannot be read"),
        (lambda f: (f / "config.json").write_text('{"model_type": "llama"}'), "'llama' model, not an OPT"),
        (
            lambda f: drop(f, "model.decoder.layers.1.fc1.bias"),
            "1 tensors are missing, first model.decoder.layers.1.fc1",
        ),
        (lambda f: change(f, ffn_dim=40), "cannot be read: tensors have other shapes than config.json says"),
        (cut, "cannot be read"),
        (lambda f: change(f, ffn_dim="wide"), "cannot be read: .*'ffn_dim' expected int"),
        (lambda f: change(f, activation_function="exec"), "cannot be read"),
        (lambda f: (f / "config.json").write_text("{"), "not JSON"),
    ],
)
def test_a_broken_folder_is_refused(copy, breakage, message):
    breakage(copy)
    with pytest.raises(UserError, match=message) as error:
        build_opt(OptOptions(weights=str(copy)))
    assert str(copy) in error.value.where
    assert error.value.do
    assert len(str(error.value).splitlines()) == 1


def test_a_folder_of_another_geometry_than_named_is_refused(folder):
    with pytest.raises(UserError, match=r"but opt-2.7b has"):
        build_opt(OptOptions(weights=str(folder), architecture="opt-2.7b"))


def test_architecture_comes_from_the_name():
    assert OptOptions(weights="facebook/opt-6.7b").architecture == "opt-6.7b"
    assert OptOptions(weights="facebook/opt-6.7b@3d7c1").architecture == "opt-6.7b"
    assert OptOptions(weights="/models/opt-350m").architecture == "opt-350m"
    assert OptOptions(weights="somebody/chat").architecture is None


def test_random_without_architecture_is_refused():
    with pytest.raises(ValidationError, match="name an architecture"):
        OptOptions(weights="random")


@pytest.mark.parametrize("trap", TRAPS)
def test_what_a_stranger_left_is_never_run(copy, tmp_path, trap):
    trap(copy, tmp_path / "sprung")
    with pytest.raises(UserError) as error:
        build_opt(OptOptions(weights=str(copy))).tokenizer([""], ["a"])
    assert len(str(error.value).splitlines()) == 1
    assert not (tmp_path / "sprung").exists()


def test_attention_from_a_hub_is_not_looked_for(copy, opt, soft_prompt):
    change(copy, _attn_implementation="stranger/attention", attn_implementation="stranger/attention")
    other = build_opt(OptOptions(weights=str(copy)))
    settings = Generation(max_new_tokens=5)
    assert other.generate(soft_prompt, ["a"] * 4, settings) == opt.generate(soft_prompt, ["a"] * 4, settings)


@pytest.mark.parametrize("text", ["{", "[]", "", '{"model": 1}'])
def test_a_broken_tokenizer_is_told_in_one_line(copy, text):
    (copy / "tokenizer.json").write_text(text)
    with pytest.raises(UserError, match="no tokenizer") as error:
        build_opt(OptOptions(weights=str(copy))).tokenizer([""], ["a"])
    assert len(str(error.value).splitlines()) == 1
