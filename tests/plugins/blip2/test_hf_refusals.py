"""What is damaged, hostile or computes something else is refused in one line that names it."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmbridge_blip2.hugging_face.format import HuggingFace
from mmbridge_registry import UserError
from safetensors.torch import load_file, save_file
from toys.blip2_checkpoints import PLAIN, bert_tokenizer, edit_config, random_blip2, write_blip2, write_processor


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("written")
    return {kind: write_blip2(folder / kind, kind) for kind in ("opt", "t5", "retrieval")}


@pytest.fixture
def source(written: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    def copy(kind: str) -> Path:
        import shutil

        return Path(shutil.copytree(written[kind], tmp_path / kind))

    return copy


def refused(folder: Path, *words: str) -> None:
    with pytest.raises(UserError) as caught:
        HuggingFace().read(folder)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("kind", "part", "change", "word"),
    [
        ("opt", None, {"auto_map": {"AutoModel": "evil.Model"}}, "auto_map"),
        ("opt", "text_config", {"auto_map": {"AutoModel": "evil.Model"}}, "text_config asks for code"),
        ("opt", "vision_config", {"layer_norm_eps": ...}, "vision_config does not say layer_norm_eps"),
        ("opt", "qformer_config", {"layer_norm_eps": ...}, "qformer_config does not say layer_norm_eps"),
        ("opt", None, {"qformer_config": {"model_type": "blip_2_qformer"}}, "qformer_config does not say"),
        ("t5", "text_config", {"layer_norm_epsilon": ...}, "text_config does not say layer_norm_epsilon"),
        ("opt", "vision_config", {"layer_norm_eps": "1e-6"}, "layer_norm_eps is '1e-6'"),
        ("opt", "qformer_config", {"layer_norm_eps": 0}, "layer_norm_eps is 0"),
        ("opt", "vision_config", {"hidden_act": "quick_gelu"}, "vision_config.hidden_act is 'quick_gelu'"),
        ("opt", "vision_config", {"hidden_act": "no_such"}, "vision_config.hidden_act is 'no_such'"),
        ("opt", "qformer_config", {"hidden_act": "gelu_new"}, "qformer_config.hidden_act is 'gelu_new'"),
        ("opt", "vision_config", {"num_attention_heads": 5}, "num_attention_heads is 5"),
        ("opt", "qformer_config", {"num_attention_heads": 0}, "num_attention_heads is 0"),
        ("opt", "qformer_config", {"max_position_embeddings": "many"}, "max_position_embeddings is 'many'"),
        ("opt", "vision_config", {"image_size": 56}, "image_size is 56"),
        ("opt", "vision_config", {"num_hidden_layers": 3}, "num_hidden_layers is 3"),
        ("opt", None, {"num_query_tokens": 32}, "num_query_tokens is 32"),
        ("opt", "text_config", {"vocab_size": 500}, "embed_tokens.weight has shape [394, 32]"),
        ("opt", "text_config", {"num_hidden_layers": 10**9}, "num_hidden_layers 1000000000"),
        ("opt", "text_config", {"model_type": "llama"}, "'llama'"),
        ("opt", "text_config", {"num_attention_heads": 5}, "describes no OPT"),
        ("t5", "text_config", {"feed_forward_proj": "a-b-c"}, "text_config cannot be read"),
        ("retrieval", "qformer_config", {"vocab_size": 30522}, "vocab_size is 30522"),
        ("opt", None, {"quantization_config": {"bits": 4}}, "quantised"),
        ("opt", None, {"vision_config": [1]}, "vision_config is no object"),
    ],
)
def test_a_config_that_cannot_be_followed(
    kind: str, part: str | None, change: dict[str, Any], word: str, source: Callable[[str], Path]
) -> None:
    folder = source(kind)
    edit_config(folder, transformers_version="4.30.2")
    edit_config(folder, part, **change)
    started = time.monotonic()
    refused(folder, word)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("opt", "vision_model.embeddings.position_embedding"),
        ("opt", "vision_model.encoder.layers.1.self_attn.qkv.bias"),
        ("opt", "vision_model.encoder.layers.0.mlp.fc1.weight"),
        ("opt", "vision_model.post_layernorm.weight"),
        ("opt", "qformer.encoder.layer.0.crossattention.attention.key.weight"),
        ("opt", "qformer.encoder.layer.1.output_query.dense.bias"),
        ("opt", "language_projection.weight"),
        ("opt", "language_model.model.decoder.layers.1.fc1.weight"),
        ("t5", "language_model.lm_head.weight"),
        ("t5", "language_model.decoder.block.1.layer.1.EncDecAttention.q.weight"),
        ("retrieval", "itm_head.weight"),
        ("retrieval", "embeddings.word_embeddings.weight"),
    ],
)
def test_a_tensor_of_another_shape(kind: str, name: str, source: Callable[[str], Path]) -> None:
    folder = source(kind)
    tensors = load_file(folder / "model.safetensors")
    tensors[name] = torch.cat([tensors[name], tensors[name][:1]])
    save_file(tensors, folder / "model.safetensors")
    refused(folder)


@pytest.mark.parametrize(
    "name",
    [
        "query_tokens",
        "vision_model.embeddings.class_embedding",
        "vision_model.encoder.layers.0.self_attn.qkv.bias",
        "vision_model.post_layernorm.bias",
        "qformer.layernorm.weight",
        "qformer.encoder.layer.1.intermediate_query.dense.weight",
        "language_projection.bias",
        "language_model.model.decoder.embed_tokens.weight",
        "language_model.model.decoder.layers.0.fc2.bias",
    ],
)
def test_a_tensor_that_is_not_there(name: str, source: Callable[[str], Path]) -> None:
    folder = source("opt")
    tensors = load_file(folder / "model.safetensors")
    del tensors[name]
    save_file(tensors, folder / "model.safetensors")
    refused(folder)


def test_a_bias_for_keys(source: Callable[[str], Path]) -> None:
    folder = source("opt")
    tensors = load_file(folder / "model.safetensors")
    tensors["vision_model.encoder.layers.1.self_attn.qkv.bias"][30] = 1e-6
    save_file(tensors, folder / "model.safetensors")
    refused(folder, "layers.1.self_attn.qkv.bias", "keys")


def test_an_input_table_that_differs_from_its_twin(source: Callable[[str], Path]) -> None:
    folder = source("t5")
    tensors = load_file(folder / "model.safetensors")
    tensors["language_model.encoder.embed_tokens.weight"] = tensors["language_model.shared.weight"] + 1
    save_file(tensors, folder / "model.safetensors")
    refused(folder, "encoder.embed_tokens.weight differs")


@pytest.mark.parametrize("cut", [0, 7, 500, -1, -20_000])
def test_a_file_that_is_cut_short(cut: int, source: Callable[[str], Path]) -> None:
    file = source("opt") / "model.safetensors"
    file.write_bytes(file.read_bytes()[:cut])
    refused(file.parent, "model.safetensors")


def test_pickled_weights(source: Callable[[str], Path]) -> None:
    folder = source("opt")
    torch.save({}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    refused(folder, ".bin")


def sharded(folder: Path) -> Path:
    random_blip2("opt").save_pretrained(folder, max_shard_size="40kB")
    write_processor(folder, "opt", PLAIN)
    return folder


def test_a_shard_that_is_missing(tmp_path: Path) -> None:
    folder = sharded(tmp_path / "hf")
    shard = sorted(folder.glob("model-*.safetensors"))[1]
    shard.unlink()
    refused(folder, shard.name)


def test_a_shard_without_a_tensor_that_the_index_names(tmp_path: Path) -> None:
    folder = sharded(tmp_path / "hf")
    shard = sorted(folder.glob("model-*.safetensors"))[1]
    tensors = load_file(shard)
    name = next(iter(tensors))
    del tensors[name]
    save_file(tensors, shard)
    refused(folder, name)


@pytest.mark.parametrize("shard", ["../evil.safetensors", "/etc/passwd", "pytorch_model.bin", 5, None])
def test_an_index_that_points_elsewhere(shard: Any, tmp_path: Path) -> None:
    folder = sharded(tmp_path / "hf")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"query_tokens": shard}}))
    refused(folder)


def test_a_tokenizer_of_other_words(source: Callable[[str], Path]) -> None:
    folder = source("retrieval")
    tokenizer = bert_tokenizer()
    tokenizer.add_tokens(["neologism"])
    tokenizer.save_pretrained(folder)
    refused(folder, "201 tokens", "200 rows")


def test_a_damaged_side_file(source: Callable[[str], Path]) -> None:
    folder = source("opt")
    (folder / "mmbridge.json").write_text('{"image_norm_eps": "tiny"}')
    refused(folder, "mmbridge.json", "'tiny'")
    (folder / "mmbridge.json").unlink()
    (folder / "mmbridge.safetensors").write_bytes(b"nothing")
    refused(folder, "mmbridge.safetensors")


JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 9), st.floats(), st.text(max_size=3), st.sampled_from([[], {}, {"a": 1}])
)
KEYS = {
    None: ["num_query_tokens", "image_text_hidden_size", "vision_config", "qformer_config", "text_config", "dtype"],
    "vision_config": ["hidden_size", "layer_norm_eps", "num_attention_heads", "hidden_act", "patch_size"],
    "qformer_config": ["layer_norm_eps", "num_attention_heads", "hidden_act", "vocab_size", "encoder_hidden_size"],
    "text_config": ["model_type", "vocab_size", "hidden_size", "ffn_dim", "num_hidden_layers", "eos_token_id", "dtype"],
}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([(part, key) for part, keys in KEYS.items() for key in keys]), JUNK)
def test_no_junk_in_a_config_is_more_than_one_line(written: dict[str, Path], place: tuple[Any, str], junk: Any) -> None:
    folder, (part, key) = written["opt"], place
    file = folder / "config.json"
    whole = file.read_text()
    try:
        edit_config(folder, part, **{key: junk})
        HuggingFace().read(folder)
    except UserError as error:
        assert "\n" not in str(error)
    finally:
        file.write_text(whole)


@pytest.mark.parametrize("text", ["", "[]", "null", '"blip-2"', '{"model_type": "blip"}', '{"model_type": ', "\xff"])
def test_other_folders_are_not_recognised(text: str, tmp_path: Path) -> None:
    assert not HuggingFace().recognises(tmp_path)
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    assert not HuggingFace().recognises(tmp_path)
    assert not HuggingFace().recognises(tmp_path / "config.json")
    assert not HuggingFace().recognises(tmp_path / "nowhere")


def test_its_own_folders_are_recognised_whatever_they_are_called(source: Callable[[str], Path]) -> None:
    assert HuggingFace().recognises(source("opt").rename(source("t5") / "lavis.pth"))
