"""The vision encoder: transformers' `vision_model` without its last norm is timm's EVA, whole."""

from collections.abc import Iterator
from typing import Any

import torch
from mmbridge_registry import Published, UserError, VisionEncoder
from mmbridge_registry.published import TIMM
from torch import Tensor

from mmbridge_blip2.hugging_face.folder import Folder
from mmbridge_blip2.hugging_face.names import ENCODER, from_hf, fused, fused_of, to_hf
from mmbridge_blip2.hugging_face.part import Part, Sorted, dtype_of
from mmbridge_blip2.hugging_face.processor import pixel_settings
from mmbridge_blip2.hugging_face.settings import agree, eps, exact_gelu, heads
from mmbridge_blip2.lavis import encoder as lavis_encoder
from mmbridge_blip2.lavis.encoder import EncoderSizes
from mmbridge_blip2.lavis.tower import ARCHITECTURE

PART = "vision_config"
EVA_G = {"width": 1408, "inner": 6144, "patch": 14, "heads": 16}
"""What makes an encoder EVA-CLIP g, whatever its depth and resolution."""


def read_encoder(folder: Folder) -> Part:
    """Sort the encoder's tensors under timm's names.

    Raises:
        UserError: one is missing or has another shape, keys have a bias, or the config lacks or contradicts something.
    """
    found = Sorted("vision_encoder")
    for name, tensor in folder.under("vision_model."):
        if biases := fused(name):
            _split(folder, found, name, tensor, biases)
        elif ours := from_hf(name, ENCODER):
            found.add(name, ours, tensor)
    sizes = lavis_encoder.sizes_of(found.tensors, folder.path)
    norm_eps, left_out = eps(folder, PART)
    exact_gelu(folder, PART)
    count, unsaid = heads(folder, PART, sizes.width)
    said = {"hidden_size": sizes.width, "intermediate_size": sizes.inner, "num_hidden_layers": sizes.blocks}
    agree(folder, PART, said | {"image_size": sizes.image_size, "patch_size": sizes.patch})
    pixels, unknown = pixel_settings(folder.path)
    config = _timm_config(sizes, count, norm_eps, pixels)
    geometry = {"width": sizes.width, "inner": sizes.inner, "patch": sizes.patch, "heads": count}
    section = {
        "name": "eva_vit_g" if geometry == EVA_G else "timm_vit",
        "output_layer": -1,
        "norm_eps": norm_eps,
        "dtype": dtype_of(found.tensors),
    }
    tower = Published(TIMM, config, found.tensors)
    return Part(section, found.tensors, found.renamed, (*left_out, *unsaid, *unknown), tower)


def _split(folder: Folder, found: Sorted, name: str, bias: Tensor, ours: tuple[str, str]) -> None:
    """Part the fused bias [3W] of queries, keys and values; EVA has none for keys."""
    if bias.ndim != 1 or len(bias) % 3:
        raise UserError(f"{name} has shape {list(bias.shape)}.", where=folder.path, do="Give the original file.")
    query, key, value = bias.chunk(3)
    if key.any():
        raise UserError(
            f"{name} has a bias for keys (its middle third), which EVA has not.",
            where=folder.path,
            do="It adds the same to all logits of a query, so attention does not change: set it to zero.",
        )
    found.add(name, ours[0], query.clone())
    found.add(name, ours[1], value.clone())
    found.renamed[name] = f"vision_encoder.{ours[0].removesuffix('q_bias')}{{q_bias,v_bias}}"


def _timm_config(sizes: EncoderSizes, count: int, norm_eps: float, pixels: dict[str, Any]) -> dict[str, Any]:
    return {
        "architecture": ARCHITECTURE,
        "num_classes": 0,
        "model_args": {
            "img_size": sizes.image_size,
            "patch_size": sizes.patch,
            "embed_dim": sizes.width,
            "depth": sizes.blocks,
            "num_heads": count,
            "mlp_ratio": sizes.mlp_ratio,
        },
        "pretrained_cfg": pixels,
        "norm_eps": norm_eps,
        "activation": "GELU",
    }


def eva(encoder: VisionEncoder) -> tuple[Published, EncoderSizes]:
    """Give an encoder that transformers' `Blip2VisionModel` computes as well, and its sizes.

    Raises:
        UserError: it is another; the message says what is different.
    """
    published = encoder.published()
    reason = _foreign(published)
    if published is None or reason:
        raise UserError(
            f"transformers' BLIP-2 has no place for this encoder: {reason}.",
            where="vision_encoder",
            do="Only EVA's layout has one (`eva_vit_g`); train with it, or export to another format.",
        )
    return published, lavis_encoder.sizes_of(published.tensors, "vision_encoder")


def _foreign(encoder: Published | None) -> str | None:
    """Say why an encoder is not EVA as CLIP trained it, of any size; None if it is."""
    if encoder is None:
        return "it is no library's"
    if encoder.layout != TIMM:
        return f"it has the layout of {encoder.layout}"
    try:
        known = lavis_encoder.shapes(lavis_encoder.sizes_of(encoder.tensors, "vision_encoder"))
    except UserError as error:
        return f"its tensors are not EVA's ({error.what.rstrip('.')})"
    if strange := sorted(encoder.tensors.keys() - known.keys()):
        return f"{strange[0]} would be left over"
    if encoder.config["activation"] != "GELU":
        return f"it computes {encoder.config['activation']}, not the exact GELU"
    return None if _plain(encoder) else f"{encoder.config['architecture']} orders its blocks in another way"


def _plain(encoder: Published) -> bool:
    """Whether blocks are norm, attention, norm, MLP without rotary positions: what tensor names do not tell."""
    import timm
    from timm.models.eva import Eva, EvaBlock

    with torch.device("meta"):
        vit: Any = timm.create_model(encoder.config["architecture"], **encoder.config["model_args"])
    return isinstance(vit, Eva) and vit.rope is None and all(type(block) is EvaBlock for block in vit.blocks)


def encoder_tensors(encoder: Published) -> Iterator[tuple[str, tuple[str, ...], Tensor]]:
    """Give transformers' name, timm's names and the tensor; biases of queries and values are fused around zeros."""
    for name, tensor in encoder.tensors.items():
        if there := fused_of(name):
            twin = name.replace("q_bias", "v_bias")
            query, value = tensor.detach(), encoder.tensors[twin].detach()
            yield there, (name, twin), torch.cat([query, torch.zeros_like(query), value])
        elif there := to_hf(name, ENCODER):
            yield there, (name,), tensor.detach()


def vision_config(encoder: Published, sizes: EncoderSizes) -> dict[str, Any]:
    """Say the encoder's sizes in transformers' words."""
    return {
        "model_type": "blip_2_vision_model",
        "hidden_size": sizes.width,
        "intermediate_size": sizes.inner,
        "num_hidden_layers": sizes.blocks,
        "num_attention_heads": encoder.config["model_args"]["num_heads"],
        "image_size": sizes.image_size,
        "patch_size": sizes.patch,
        "hidden_act": "gelu",
        "layer_norm_eps": encoder.config["norm_eps"],
        "qkv_bias": True,
    }
