"""Real parts filled from what the format `lavis` read, without the framework around them."""

import json
from pathlib import Path

import torch
from mmbridge_clip import ClipViTOptions, build_clip_vit
from mmbridge_eva import EvaViTGOptions, build_eva_vit_g
from mmbridge_qformer import QFormerOptions, build_qformer
from mmbridge_registry import Imported, LanguageModel, Published, VisionEncoder
from mmbridge_registry.published import OPEN_CLIP, TRANSFORMERS
from safetensors.torch import save_file

from mmbridge.model import BridgedModel


class Speaker(LanguageModel):
    """Stands for a language model: a width, and what transformers would call it."""

    kind, safe_dtypes, token_scale = "decoder", frozenset({torch.float32}), 1.0

    def __init__(self, width: int, model_type: str | None, **config: object) -> None:
        super().__init__()
        self.width, self.config = width, {"model_type": model_type, **config}
        self.table = torch.nn.Embedding(3, width)

    def loss(self, soft_prompt, tokens):
        raise NotImplementedError

    def generate(self, soft_prompt, prompts, generation):
        raise NotImplementedError

    def score(self, soft_prompt, prompts, candidates):
        raise NotImplementedError

    def published(self):
        return self.config["model_type"] and Published(TRANSFORMERS, self.config, {})


def whole(imported: Imported, encoder: VisionEncoder) -> BridgedModel:
    """Build the model that was imported around an encoder; learned is what the source had."""
    options = {key: value for key, value in imported.model["bridge"].items() if key not in {"name", "tokenizer"}}
    bridge = build_qformer(QFormerOptions(**options), encoder.width)
    language = imported.model.get("language_model")
    speaker = language and Speaker(len(imported.projection["bias"]), {"opt": "opt", "flan_t5": "t5"}[language["name"]])
    model = BridgedModel(encoder, bridge, speaker)
    named = bridge.published().tensors
    pairs = [(named[name], tensor) for name, tensor in imported.bridge.items()]
    pairs += [(getattr(model.projection, name), tensor) for name, tensor in imported.projection.items()]
    names = {id(tensor): name for name, tensor in model.tensors().items()}
    with torch.no_grad():
        for place, tensor in pairs:
            assert place.shape == tensor.shape
            place.copy_(tensor)
            model.learned.add(names[id(place)])
    if imported.towers:
        model.learned |= {name for name in model.tensors() if name.startswith("vision_encoder.")}
    return model


def encoder_of(imported: Imported, folder: Path) -> VisionEncoder:
    """Write the encoder that came along as its library would, and build it from there."""
    tower = imported.towers["vision_encoder"]
    clip = tower.layout == OPEN_CLIP
    folder.mkdir()
    prefix, config = ("visual.", "open_clip_config.json") if clip else ("", "config.json")
    (folder / config).write_text(json.dumps(tower.config))
    file = folder / ("open_clip_model.safetensors" if clip else "model.safetensors")
    save_file({f"{prefix}{name}": tensor.contiguous() for name, tensor in tower.tensors.items()}, file)
    section = dict(imported.model["vision_encoder"])
    build, options = {
        "eva_vit_g": (build_eva_vit_g, EvaViTGOptions),
        "clip_vit": (build_clip_vit, ClipViTOptions),
    }[section.pop("name")]
    return build(options(weights=str(folder), **section))
