"""From a model to a file that LAVIS loads."""

from collections.abc import Mapping
from pathlib import Path

import torch
from mmbridge_registry import Assembled, Exported, Published, UserError
from mmbridge_registry.published import LAVIS
from torch import Tensor

from mmbridge_blip2.lavis.bridge import ALIASES, POSITION_IDS, image_branch, sizes_of
from mmbridge_blip2.lavis.contents import ENCODER, contents_of
from mmbridge_blip2.lavis.file import SETTINGS, WEIGHTS, LavisFile
from mmbridge_blip2.lavis.losses import losses, notes
from mmbridge_blip2.lavis.targets import encoder_heads, language_model_of, refuse_foreign_encoder, trained


def export(model: Assembled, destination: Path, card: str) -> Exported:
    """Write what was learned under LAVIS' names, and the card beside it.

    Raises:
        UserError: LAVIS has no such bridge or language model, or no place for the encoder that was trained.
    """
    bridge = _bridge(model)
    learned = _learned(model, bridge)
    ours = {id(tensor): name for name, tensor in model.tensors().items()}
    renamed = {ours[id(tensor)]: name for name, tensor in learned.items()}
    settings = {key: bridge.config[key] for key in ("heads", "norm_eps", "image_norm_eps")}
    if trained(model, "vision_encoder"):
        settings["encoder_heads"] = encoder_heads(model.vision_encoder.published())
    tensors = _twice({name: _own(tensor) for name, tensor in learned.items()}, bridge.config["positions"])
    torch.save({WEIGHTS: tensors, SETTINGS: settings}, destination)
    destination.with_name(f"{destination.name}.md").write_text(card)
    title = contents_of(LavisFile(tensors, settings, ()), destination).title
    return Exported(title, renamed, tuple(losses(model, bridge, renamed)), tuple(notes(model, bridge, renamed)))


def _bridge(model: Assembled) -> Published:
    bridge = model.bridge.published()
    if bridge is None or bridge.layout != LAVIS:
        raise UserError(
            f"LAVIS has no bridge but the Q-Former, and this is a {type(model.bridge).__name__}.",
            where="bridge",
            do="Export only runs whose bridge is `qformer`.",
        )
    return bridge


def _learned(model: Assembled, bridge: Published) -> dict[str, Tensor]:
    """Give what belongs into the file by its names there: what some stage has trained, and the image branch whole."""
    names = {id(tensor) for name, tensor in model.tensors().items() if name in model.learned}
    image = image_branch(sizes_of(bridge.tensors, "bridge"))
    learned = {name: tensor for name, tensor in bridge.tensors.items() if name in image or id(tensor) in names}
    if model.projection is not None and trained(model, "projection"):
        prefix = f"{language_model_of(model)}_proj"
        learned |= {f"{prefix}.{name}": tensor for name, tensor in model.projection.named_parameters()}
    if trained(model, "vision_encoder"):
        encoder = refuse_foreign_encoder(model.vision_encoder)
        learned |= {f"{ENCODER}{name}": tensor for name, tensor in encoder.tensors.items()}
    return learned


def _own(tensor: Tensor) -> Tensor:
    """Give a plain tensor on the CPU that drags no larger storage into the file."""
    plain = tensor.detach().cpu().contiguous()
    return plain if plain.untyped_storage().nbytes() == plain.nbytes else plain.clone()


def _twice(tensors: Mapping[str, Tensor], positions: int) -> dict[str, Tensor]:
    """Add what LAVIS stores besides: tied tensors under their second names, if it knows the head at all, and ids."""
    aliases = {alias: tensors[name] for alias, name in ALIASES.items() if set(ALIASES.values()) <= tensors.keys()}
    return {**tensors, **aliases, POSITION_IDS: torch.arange(positions).expand(1, -1)}
