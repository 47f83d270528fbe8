"""The vision encoder inside a finetuned LAVIS file, as timm or open_clip would save it."""

import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from mmbridge_registry import Published
from mmbridge_registry.published import OPEN_CLIP, TIMM
from torch import Tensor

from mmbridge_blip2.lavis.encoder import EncoderSizes, Family

KEPT: dict[int, int] = {1408: 39, 1024: 23}
"""Blocks that LAVIS keeps of ViT-g (of 40) and of ViT-L (of 24), by width."""
NORM_EPS: dict[Family, float] = {"eva": 1e-6, "clip": 1e-5}
"""What LAVIS' code has; files do not tell."""
ARCHITECTURE = "eva_giant_patch14_clip_224"
PREPROCESS = {
    "mean": (0.48145466, 0.4578275, 0.40821073),
    "std": (0.26862954, 0.26130258, 0.27577711),
    "interpolation": "bicubic",
}
"""How LAVIS' BLIP-2 looks at pixels, whichever encoder."""


def kept(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Leave out the blocks behind the one that LAVIS ends with; which that is, is known for its two encoders."""
    ends = (tensors[name] for name in ("ln_pre.weight", "patch_embed.proj.bias") if name in tensors)
    last = KEPT.get(next((end.numel() for end in ends), 0), math.inf)
    block = re.compile(r"(?:blocks|transformer\.resblocks)\.(\d+)\.")
    return {
        name: tensor for name, tensor in tensors.items() if not (found := block.match(name)) or int(found[1]) < last
    }


def published(sizes: EncoderSizes, tensors: Mapping[str, Tensor], heads: int) -> Published:
    """Give the encoder as its library would save it."""
    return _timm(sizes, tensors, heads) if sizes.family == "eva" else _open_clip(sizes, tensors, heads)


def dtype_of(tensors: Mapping[str, Tensor]) -> str:
    """Name the narrowest type that holds every number."""
    dtypes = {tensor.dtype for tensor in tensors.values()}
    return str(dtypes.pop() if len(dtypes) == 1 else torch.float32).removeprefix("torch.")


def _timm(sizes: EncoderSizes, tensors: Mapping[str, Tensor], heads: int) -> Published:
    model = {
        "img_size": sizes.image_size,
        "patch_size": sizes.patch,
        "embed_dim": sizes.width,
        "depth": sizes.blocks,
        "num_heads": heads,
        "mlp_ratio": sizes.mlp_ratio,
    }
    config: dict[str, Any] = {
        "architecture": ARCHITECTURE,
        "num_classes": 0,
        "model_args": model,
        "pretrained_cfg": PREPROCESS,
        "norm_eps": NORM_EPS["eva"],
        "activation": "GELU",
    }
    return Published(TIMM, config, tensors)


def _open_clip(sizes: EncoderSizes, tensors: Mapping[str, Tensor], heads: int) -> Published:
    vision = {
        "width": sizes.width,
        "head_width": sizes.width // heads,
        "layers": sizes.blocks,
        "mlp_ratio": sizes.mlp_ratio,
        "patch_size": sizes.patch,
        "image_size": sizes.image_size,
    }
    # 768 is the width of CLIP's projection, which LAVIS cuts off.
    model = {"embed_dim": 768, "quick_gelu": True, "vision_cfg": vision, "text_cfg": {}}
    return Published(OPEN_CLIP, {"model_cfg": model, "preprocess_cfg": PREPROCESS}, tensors)
