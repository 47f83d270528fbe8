"""What a model has and LAVIS has not: constants of its code, and parts that it takes from elsewhere."""

from collections.abc import Iterator, Mapping
from typing import Any

from mmbridge_registry import Assembled, Published
from mmbridge_registry.published import TIMM

from mmbridge_blip2.lavis.encoder import sizes_of
from mmbridge_blip2.lavis.model import BRIDGE_EPS, LANGUAGE_MODELS, VOCABULARY
from mmbridge_blip2.lavis.targets import KINDS, foreign, trained
from mmbridge_blip2.lavis.tower import KEPT, NORM_EPS, PREPROCESS

BERT_BASE = {
    "layers": 12,
    "width": 768,
    "heads": 12,
    "intermediate": 3072,
    "positions": 512,
    "vocabulary": VOCABULARY,
}
"""The one size of a Q-Former that LAVIS' code builds."""


def losses(model: Assembled, bridge: Published, renamed: Mapping[str, str]) -> Iterator[str]:
    """Name what was learned or set and has no place in LAVIS."""
    for key, eps in BRIDGE_EPS.items():
        if bridge.config[key] != eps:
            yield f"bridge.{key} {bridge.config[key]}: LAVIS computes with {eps}"
    yield from _lost_of_encoder(model.vision_encoder.published())
    if language_model := model.language_model and model.language_model.published():
        activation = language_model.config.get("dense_act_fn", "gelu")
        if activation != "gelu":
            yield f"language_model.dense_act_fn {activation}: LAVIS computes the exact GELU"
    left = sorted(model.learned - renamed.keys())
    yield from (name for name in left if not name.startswith("language_model."))
    if count := sum(name.startswith("language_model.") for name in left):
        yield f"language_model.*: {count} tensors that were trained; LAVIS loads the published language model"


def _lost_of_encoder(encoder: Published | None) -> Iterator[str]:
    reason = foreign(encoder)
    if encoder is None or reason:
        yield f"vision_encoder: LAVIS has no such encoder ({reason})"
        return
    sizes = sizes_of(encoder.tensors, "vision_encoder")
    eps, expected = _norm_eps(encoder), NORM_EPS[sizes.family]
    if eps != expected:
        yield f"vision_encoder.norm_eps {eps}: LAVIS computes with {expected}"
    if KEPT.get(sizes.width, sizes.blocks) != sizes.blocks:
        yield f"vision_encoder: {sizes.blocks} blocks; LAVIS builds {KEPT[sizes.width]}"
    preprocess = encoder.config["pretrained_cfg" if encoder.layout == TIMM else "preprocess_cfg"]
    for key, value in PREPROCESS.items():
        if key in preprocess and not _same(preprocess[key], value):
            yield f"vision_encoder.{key} {preprocess[key]}: LAVIS' processors have {value}"


def _norm_eps(encoder: Published) -> float:
    if encoder.layout == TIMM:
        return encoder.config.get("norm_eps", NORM_EPS["eva"])
    norm: Mapping[str, float] = encoder.config["model_cfg"]["vision_cfg"].get("norm_kwargs") or {}
    return norm.get("eps", NORM_EPS["clip"])  # open_clip's own default is torch's


def _same(given: Any, expected: Any) -> bool:
    return given == expected if isinstance(expected, str) else tuple(given) == expected


def notes(model: Assembled, bridge: Published, renamed: Mapping[str, str]) -> Iterator[str]:
    """Write a sentence about each thing that LAVIS must be given or told besides the file."""
    strange = [f"{key} {bridge.config[key]}" for key, size in BERT_BASE.items() if bridge.config[key] != size]
    if strange:
        yield f"LAVIS' code builds BERT-base's Q-Former only; here it must build {', '.join(strange)}."
    if left := len(bridge.tensors.keys() - set(renamed.values())):
        yield f"{left} tensors of the Q-Former that no stage has trained are left out."
    if not trained(model, "vision_encoder"):
        yield from _encoder_to_give(model.vision_encoder.published())
    if model.language_model is None:
        return
    if not trained(model, "projection"):
        yield "The projection was not trained and is left out."
    elif published := model.language_model.published():
        kind = KINDS[published.config["model_type"]]
        name = LANGUAGE_MODELS.get((kind, model.language_model.width), "the one it was trained with")
        yield f"The language model is not in the file, as LAVIS has it: set `{kind}_model` to {name}."


def _encoder_to_give(encoder: Published | None) -> Iterator[str]:
    if encoder is None or foreign(encoder):
        return
    sizes = sizes_of(encoder.tensors, "vision_encoder")
    name = {"eva": "eva_clip_g", "clip": "clip_L"}[sizes.family]
    size = "" if sizes.width in KEPT else f" at the width {sizes.width}, which its code does not build,"
    yield (
        "The encoder was trained by no stage here and is not in the file:"
        f" set `vit_model: {name}`{size} and `image_size: {sizes.image_size}`."
    )
