"""From a model to a folder that transformers' classes and `AutoProcessor` load."""

import json
from pathlib import Path

from huggingface_hub import save_torch_state_dict
from mmbridge_registry import Assembled, Exported
from torch import Tensor
from transformers import GenerationConfig

from mmbridge_blip2.hugging_face.folder import CONFIG
from mmbridge_blip2.hugging_face.losses import losses, notes
from mmbridge_blip2.hugging_face.processor import bridge_tokenizer, image_processor, write_processor
from mmbridge_blip2.hugging_face.side_file import EPS, TOKENIZER, Side
from mmbridge_blip2.hugging_face.target import Target, target_of
from mmbridge_blip2.lavis.bridge import WORDS

SHARD = "5GB"


def export(model: Assembled, destination: Path, card: str) -> Exported:
    """Write config, tensors, processor, side file and card.

    Raises:
        UserError: the encoder, the bridge or the language model has no place in transformers' BLIP-2.
    """
    target = target_of(model)
    ours = {id(tensor): name for name, tensor in model.tensors().items()}
    renamed = {ours[id(own)]: there for there, owns, _ in target.leaving for own in owns}
    side = _side(model, target, renamed, ours)
    _write(target, destination)
    _write_side(target, side, destination)
    (destination / "README.md").write_text(card, encoding="utf-8")
    return Exported(
        title=f"transformers' {target.title}",
        renamed=renamed,
        lost=tuple(losses(model, target, side, renamed, ours)),
        notes=tuple(notes(model, target, renamed, ours)),
    )


def _write(target: Target, folder: Path) -> None:
    tokenizer = target.speech.tokenizer if target.speech else bridge_tokenizer(target.bridge_tokenizer)
    images = image_processor(target.encoder.config["pretrained_cfg"], target.encoder_sizes.image_size)
    folder.mkdir(parents=True)
    (folder / CONFIG).write_text(json.dumps(target.config(), indent=2))
    tensors: dict[str, Tensor] = {there: tensor.cpu() for there, _, tensor in target.leaving}
    save_torch_state_dict(tensors, folder, max_shard_size=SHARD, metadata={"format": "pt"})
    # Without placeholders in its config and its processor alike, or transformers scores pairs without their text.
    write_processor(folder, images, tokenizer, target.bridge_sizes.queries if target.speech else None)
    if target.speech is not None:
        GenerationConfig(**target.speech.generation()).save_pretrained(folder)


def _side(model: Assembled, target: Target, renamed: dict[str, str], ours: dict[int, str]) -> Side:
    """Collect what some stage has trained and the class has no place for."""
    names = {name: ours[id(tensor)] for name, tensor in target.bridge.tensors.items()}
    homeless = [name for name, own in names.items() if own in model.learned and own not in renamed]
    eps = target.bridge.config[EPS]
    settings = {EPS: eps} if eps != target.encoder.config["norm_eps"] else {}
    return Side({name: target.bridge.tensors[name].detach() for name in homeless}, settings, target.bridge.tokenizer)


def _write_side(target: Target, side: Side, folder: Path) -> None:
    side.write(folder)
    if target.speech is not None and WORDS in side.tensors and side.tokenizer is not None:
        bridge_tokenizer(side.tokenizer).save_pretrained(folder / TOKENIZER)
