"""Every built-in plugin runs the conformance kit on itself, as a stranger's would."""

import json
import shutil
from pathlib import Path

import mmbridge_tiny_world
import open_clip
import pytest
import torch
from mmbridge_clip import ClipViTOptions, build_clip_vit
from mmbridge_eva import TimmViTOptions, build_timm_vit
from mmbridge_flan_t5 import FlanT5Options, build_flan_t5
from mmbridge_mlp import MlpOptions, build_mlp
from mmbridge_opt import OptOptions, build_opt
from mmbridge_qformer import QFormerOptions, build_qformer
from mmbridge_registry import DATASET, OBJECTIVE, Catalog, LanguageModel, TextBridge
from mmbridge_registry.kinds import TEXT_BRIDGE
from mmbridge_registry.testing import (
    check_bridge,
    check_dataset,
    check_language_model,
    check_objective,
    check_plugin,
    check_text_bridge,
    check_vision_encoder,
)
from safetensors.torch import save_file
from toys.tiny_opt import write_opt
from toys.tiny_t5 import write_t5

torch.set_num_threads(1)

PLUGINS = sorted(path.parent.name for path in Path(__file__).parents[2].glob("plugins/*/__init__.py"))
WORDS = Path(__file__).parents[1] / "goldens" / "tokenizers" / "bert_vocab.txt"
ENCODER_WIDTH = 24


@pytest.mark.parametrize("module", PLUGINS)
def test_plugin(module: str) -> None:
    check_plugin(module)


def test_clip_vit(tmp_path: Path) -> None:
    config = {
        "embed_dim": 8,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 32, "head_width": 16, "layers": 3},
        "text_cfg": {"context_length": 2, "vocab_size": 2, "width": 8, "heads": 1, "layers": 1},
    }
    save_file(open_clip.CLIP(**config).state_dict(), tmp_path / "open_clip_model.safetensors")
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    check_vision_encoder(build_clip_vit(ClipViTOptions(weights=str(tmp_path))))


def test_timm_vit() -> None:
    options = TimmViTOptions(weights="random", architecture="vit_tiny_patch16_224", image_size=32, output_layer=1)
    check_vision_encoder(build_timm_vit(options))


def test_mlp() -> None:
    check_bridge(build_mlp(MlpOptions(queries=3, width=16), ENCODER_WIDTH), ENCODER_WIDTH)


@pytest.fixture
def qformer(tmp_path: Path) -> TextBridge:
    shutil.copy(WORDS, tmp_path / "vocab.txt")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    options = QFormerOptions(
        tokenizer=str(tmp_path), queries=3, layers=3, width=32, heads=2, intermediate=48, contrastive_width=8
    )
    return build_qformer(options, ENCODER_WIDTH)


def test_qformer(qformer: TextBridge) -> None:
    check_text_bridge(qformer, ENCODER_WIDTH)


@pytest.fixture
def opt(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    return build_opt(OptOptions(weights=str(write_opt(tmp_path_factory.mktemp("opt")))))


@pytest.fixture
def t5(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    return build_flan_t5(FlanT5Options(weights=str(write_t5(tmp_path_factory.mktemp("t5")))))


def test_opt(opt: LanguageModel) -> None:
    check_language_model(opt)


def test_flan_t5(t5: LanguageModel) -> None:
    check_language_model(t5)


@pytest.mark.parametrize(
    ("name", "model"), [("itc", None), ("itm", None), ("itg", None), ("lm", "opt"), ("prefix_lm", "t5")]
)
def test_objectives(name: str, model: str | None, qformer: TextBridge, request: pytest.FixtureRequest) -> None:
    import mmbridge_objectives

    catalog = Catalog()
    mmbridge_objectives.offer_parts(catalog=catalog)
    offer = catalog.find(OBJECTIVE, name)
    language_model = request.getfixturevalue(model) if model else None
    assert (TEXT_BRIDGE in offer.requires) == (model is None)
    check_objective(offer.build(offer.options()), qformer, ENCODER_WIDTH, language_model)


@pytest.mark.parametrize("ask", [False, True])
def test_tiny_world(ask: bool) -> None:
    catalog = Catalog()
    mmbridge_tiny_world.offer_parts(catalog=catalog)
    offer = catalog.find(DATASET, "tiny_world")
    check_dataset(offer.build(offer.options.model_validate({"size": 40, "ask": float(ask)})))
