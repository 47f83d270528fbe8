"""A tiny Q-Former with the weights of the original implementation, and what the original made of its inputs."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from mmbridge_qformer import QFormerOptions, build_qformer
from mmbridge_qformer.lavis_names import state_from_lavis, state_to_lavis
from safetensors.torch import load_file
from transformers import Blip2QFormerConfig, Blip2QFormerModel

GOLDENS = Path(__file__).parents[2] / "goldens"
ENCODER_WIDTH = 48

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def wordpiece(tmp_path_factory):
    """A folder with the goldens' BERT vocabulary."""
    folder = tmp_path_factory.mktemp("wordpiece")
    shutil.copy(GOLDENS / "tokenizers" / "bert_vocab.txt", folder / "vocab.txt")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    return folder


@pytest.fixture(scope="session")
def options(wordpiece):
    """Options of the goldens' Q-Former."""
    return QFormerOptions(
        tokenizer=str(wordpiece),
        max_text_length=16,
        queries=8,
        layers=4,
        width=64,
        heads=4,
        intermediate=128,
        positions=64,
        contrastive_width=32,
        dropout=0.0,
    )


@pytest.fixture(scope="session")
def lavis_state():
    return load_file(GOLDENS / "stage1_state.safetensors")


@pytest.fixture(scope="session")
def captions():
    return json.loads((GOLDENS / "index.json").read_text())["captions"]


@pytest.fixture(scope="session")
def golden():
    """One training step of stage 1."""
    return load_file(GOLDENS / "stage1_io.safetensors")


@pytest.fixture(scope="session")
def inference():
    """Scores and features outside training."""
    return load_file(GOLDENS / "inference.safetensors")


@pytest.fixture
def bridge32(options, lavis_state):
    """The goldens' Q-Former in float32."""
    bridge = build_qformer(options, ENCODER_WIDTH)
    bridge.load_state_dict(state_from_lavis(lavis_state), strict=True)
    return bridge.eval()


@pytest.fixture
def bridge(bridge32):
    """The goldens' Q-Former in float64."""
    return bridge32.double()


@pytest.fixture
def features(golden):
    return golden["features"].double()


@pytest.fixture
def theirs(bridge32):
    """transformers' own Q-Former with the goldens' weights, without text; it wants features that are normed."""
    geometry = bridge32.geometry
    config = Blip2QFormerConfig(
        hidden_size=geometry.width,
        num_hidden_layers=geometry.layers,
        num_attention_heads=geometry.heads,
        intermediate_size=geometry.intermediate,
        encoder_hidden_size=geometry.encoder_width,
        cross_attention_frequency=geometry.cross_attention_every,
        layer_norm_eps=geometry.norm_eps,
        use_qformer_text_input=False,
        attn_implementation="eager",
    )
    model, prefix = Blip2QFormerModel(config).eval(), "Qformer.bert."
    state = {
        name.removeprefix(prefix).replace("attention.self", "attention.attention"): tensor
        for name, tensor in state_to_lavis(bridge32.state_dict()).items()
        if name.startswith(prefix)
    }
    state |= {f"layernorm.{name}": state[f"embeddings.LayerNorm.{name}"] for name in ("weight", "bias")}
    assert not model.load_state_dict(state, strict=False).missing_keys
    return model
