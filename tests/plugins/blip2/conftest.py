"""What the tests of the format `hf` share: one thread, quiet transformers, and a model of ours that is all trained."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import transformers
from safetensors.torch import save_file
from toys.blip2_checkpoints import bert_tokenizer
from toys.blip2_parts import build
from toys.tiny_opt import write_opt
from toys.tiny_t5 import write_t5

from mmbridge.model import BridgedModel

EVA = {
    "architecture": "eva_giant_patch14_clip_224",
    "num_classes": 0,
    "model_args": {"img_size": 28, "patch_size": 14, "embed_dim": 24, "depth": 3, "num_heads": 3, "mlp_ratio": 2.0},
    "pretrained_cfg": {"mean": (0.4, 0.5, 0.6), "std": (0.3, 0.2, 0.1), "interpolation": "bilinear"},
}
QFORMER = {
    "name": "qformer", "queries": 4, "layers": 3, "width": 18, "heads": 3, "intermediate": 26, "positions": 44,
    "contrastive_width": 10, "norm_eps": 1e-3, "image_norm_eps": 1e-4,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    threads, verbosity = torch.get_num_threads(), transformers.logging.get_verbosity()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    yield
    torch.set_num_threads(threads)
    transformers.logging.set_verbosity(verbosity)


Ours = Callable[..., BridgedModel]


@pytest.fixture
def ours(tmp_path: Path) -> Ours:
    """Build a random model of this framework's parts, all of the bridge trained; options go to the parts."""

    def make(
        language: str | None = "opt", encoder: Any = None, language_changes: Any = None, **bridge: Any
    ) -> BridgedModel:
        torch.manual_seed(0)
        eva = encoder or tiny_eva(tmp_path / "eva")
        bert_tokenizer().save_pretrained(tmp_path / "bert")
        section = {**QFORMER, "tokenizer": str(tmp_path / "bert"), **bridge}
        q_former = build("bridge", section, {"encoder_width": eva.width})
        model = (
            BridgedModel(eva, q_former, language_model(language, tmp_path, language_changes or {}))
            .requires_grad_(False)
            .eval()
        )
        for name, tensor in model.bridge.named_parameters():
            tensor.normal_(mean=float("norm" in name and name.endswith("weight")), std=0.3)
        model.bridge.temperature.fill_(0.05)
        model.learned = {name for name in model.tensors() if name.startswith(("bridge.", "projection."))}
        return model

    return make


def tiny_eva(folder: Path, eps: float = 1e-4, **options: Any) -> Any:
    """Build a random EVA from a timm folder."""
    vit = timm.create_model(EVA["architecture"], num_classes=0, **EVA["model_args"])
    tensors = {name: torch.randn(tensor.shape) * 0.3 for name, tensor in vit.state_dict().items()}
    folder.mkdir(parents=True)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(EVA))
    settings = {"name": "timm_vit", "output_layer": -2, "norm_eps": eps, **options}
    return build("vision_encoder", settings, weights=str(folder))


def language_model(kind: str | None, folder: Path, changes: dict[str, Any]) -> Any:
    """Build a random language model with its tokenizer."""
    if kind is None:
        return None
    if kind == "opt":
        return build("language_model", {"name": "opt"}, weights=str(write_opt(folder / "opt_weights", **changes)))
    weights = write_t5(folder / "t5_weights", **changes)
    return build("language_model", {"name": "flan_t5", "activation": "gelu"}, weights=str(weights))
