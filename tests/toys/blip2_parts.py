"""An imported checkpoint as a model: towers written as folders and built by their plugins, the bridge filled."""

from pathlib import Path
from typing import Any

import torch
from mmbridge_registry import BRIDGE, LANGUAGE_MODEL, VISION_ENCODER, Imported
from mmbridge_registry.discovery import discover

from mmbridge.model import BridgedModel
from mmbridge.tower_folders import write_tower

KINDS = {"vision_encoder": VISION_ENCODER, "language_model": LANGUAGE_MODEL, "bridge": BRIDGE}


def assembled(imported: Imported, folder: Path) -> BridgedModel:
    """Build the parts; what the source does not hold is not `learned`."""
    towers = {}
    for key, tower in imported.towers.items():
        write_tower(tower, folder / key)
        towers[key] = build(key, imported.model[key], weights=str(folder / key))
    tokenizer = {} if imported.tokenizer is None else {"tokenizer": str(imported.tokenizer)}
    section = {**imported.model["bridge"], **tokenizer}
    bridge = build("bridge", section, {"encoder_width": towers["vision_encoder"].width})
    model = BridgedModel(towers["vision_encoder"], bridge, towers.get("language_model")).requires_grad_(False).eval()
    places = {**bridge.published().tensors}
    if model.projection is not None:
        places |= {f"projection.{name}": tensor for name, tensor in model.projection.named_parameters()}
    given = {**imported.bridge, **{f"projection.{name}": tensor for name, tensor in imported.projection.items()}}
    names = {id(tensor): name for name, tensor in model.tensors().items()}
    for name, tensor in given.items():
        places[name].data.copy_(tensor)
        model.learned.add(names[id(places[name])])
    return model


def build(key: str, section: Any, context: Any = None, **options: Any) -> Any:
    """Build one part by its plugin from a section of a config."""
    offer = discover().catalog.find(KINDS[key], section["name"])
    settings = {name: value for name, value in section.items() if name != "name"}
    return offer.build(offer.options(**settings, **options), **(context or {}))


@torch.no_grad()
def soft_prompt(model: BridgedModel, pixels: torch.Tensor) -> torch.Tensor:
    """Give what the language model reads of images [B,3,H,W]."""
    return model.soft_prompt(model.vision_encoder(pixels))
