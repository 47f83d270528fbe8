"""What LAVIS has on either side of the Q-Former: two vision encoders and two families of language models."""

from typing import Literal

from mmbridge_registry import Assembled, Published, UserError, VisionEncoder
from mmbridge_registry.published import OPEN_CLIP, TIMM, TRANSFORMERS

from mmbridge_blip2.lavis.contents import LanguageModel
from mmbridge_blip2.lavis.encoder import HEAD, shapes, sizes_of

KINDS: dict[str, LanguageModel] = {"opt": "opt", "t5": "t5"}
"""transformers' kinds of models that LAVIS has, and what it calls them."""


def trained(model: Assembled, part: Literal["vision_encoder", "bridge", "projection", "language_model"]) -> bool:
    """Whether some stage has trained anything of a part."""
    return any(name.startswith(f"{part}.") for name in model.learned)


def language_model_of(model: Assembled) -> LanguageModel:
    """Give LAVIS' name of the language model's family.

    Raises:
        UserError: LAVIS has no such language model.
    """
    published = model.language_model and model.language_model.published()
    kind = published.config.get("model_type") if published and published.layout == TRANSFORMERS else None
    if kind not in KINDS:
        raise UserError(
            f"LAVIS' BLIP-2 writes with OPT or FlanT5, and this is a {kind or type(model.language_model).__name__}.",
            where="language_model",
            do="Export a stage before the projection was trained, or to another format.",
        )
    return KINDS[kind]


def refuse_foreign_encoder(encoder: VisionEncoder) -> Published:
    """Give the encoder under names that are LAVIS' as well.

    Raises:
        UserError: it is none of LAVIS' two; the message says what is different.
    """
    published = encoder.published()
    reason = foreign(published)
    if published is None or reason:
        raise UserError(
            f"the trained encoder has no place in LAVIS: {reason}.",
            where="vision_encoder",
            do="Export a stage before it was trained, or to another format.",
        )
    return published


def foreign(encoder: Published | None) -> str | None:
    """Say why an encoder is neither ViT-g nor CLIP ViT-L as LAVIS computes them, whatever its size; None if it is."""
    if encoder is None or encoder.layout not in {TIMM, OPEN_CLIP}:
        return "it is neither timm's nor open_clip's"
    try:
        known = shapes(sizes_of(encoder.tensors, "vision_encoder"))
    except UserError as error:
        return f"it is neither ViT-g nor a CLIP ({error.what.rstrip('.')})"
    if strange := sorted(encoder.tensors.keys() - known.keys()):
        return f"it has {strange[0]}, which LAVIS' have not"
    if encoder.layout == OPEN_CLIP and not encoder.config["model_cfg"].get("quick_gelu"):
        return "LAVIS' CLIP computes QuickGELU, and this the exact one"
    if encoder.layout == TIMM and encoder.config.get("activation", "GELU") != "GELU":
        return f"LAVIS' ViT-g computes the exact GELU, and this {encoder.config['activation']}"
    return None


def encoder_heads(encoder: Published | None) -> int:
    """Read the number of heads off the config of timm or open_clip."""
    assert encoder is not None  # only encoders that fit are asked
    if encoder.layout == TIMM:
        return encoder.config["model_args"]["num_heads"]
    vision = encoder.config["model_cfg"]["vision_cfg"]
    return vision["width"] // vision.get("head_width", HEAD["clip"])
