"""The two vision encoders of LAVIS, told by their tensors: ViT-g under timm's names, CLIP ViT-L under open_clip's."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from mmbridge_registry import UserError
from torch import Tensor

from mmbridge_blip2.lavis.shapes import Shapes, agree, count, linear, norm, require, size

Family = Literal["eva", "clip"]
BLOCKS: dict[Family, str] = {"eva": "blocks.", "clip": "transformer.resblocks."}
HEAD: dict[Family, int] = {"eva": 88, "clip": 64}
"""Width of a head."""


@dataclass(frozen=True)
class EncoderSizes:
    """What the tensors tell of an encoder."""

    family: Family
    width: int
    inner: int
    blocks: int
    patch: int
    tokens: int

    @property
    def image_size(self) -> int:
        """Side of the square input in pixels."""
        return math.isqrt(self.tokens - 1) * self.patch

    @property
    def mlp_ratio(self) -> float:
        """Inner width by width; their libraries multiply and cut, so rounding must not be downwards."""
        ratio = self.inner / self.width
        return ratio if int(self.width * ratio) == self.inner else math.nextafter(ratio, math.inf)


def sizes_of(tensors: Mapping[str, Tensor], source: object) -> EncoderSizes:
    """Read the sizes off an encoder's tensors, by timm's or open_clip's names.

    Raises:
        UserError: it is neither of LAVIS' two, a tensor is missing or has another shape than the rest want.
    """
    family: Family = "clip" if "class_embedding" in tensors else "eva"
    positions, axis, patch, inner = {
        "eva": ("pos_embed", 1, "patch_embed.proj.weight", "mlp.fc1.weight"),
        "clip": ("positional_embedding", 0, "conv1.weight", "mlp.c_fc.weight"),
    }[family]
    blocks = count((name for name in tensors if name.startswith(BLOCKS[family])), BLOCKS[family], source)
    sizes = EncoderSizes(
        family=family,
        width=size(tensors, patch, 0, 4, source),
        inner=size(tensors, f"{BLOCKS[family]}0.{inner}", 0, 2, source),
        blocks=blocks,
        patch=size(tensors, patch, 2, 4, source),
        tokens=size(tensors, positions, axis, axis + 2, source),
    )
    require(shapes(sizes), tensors, source)
    agree(shapes(sizes), tensors, source)
    if math.isqrt(sizes.tokens - 1) ** 2 != sizes.tokens - 1:
        raise UserError(f"{positions} has {sizes.tokens - 1} places, which is no square.", where=source)
    return sizes


def shapes(sizes: EncoderSizes) -> Shapes:
    """What an encoder of these sizes is made of."""
    width, grid = sizes.width, (sizes.width, 3, sizes.patch, sizes.patch)
    if sizes.family == "eva":
        wanted: Shapes = {"cls_token": (1, 1, width), "pos_embed": (1, sizes.tokens, width)}
        wanted |= {"patch_embed.proj.weight": grid, "patch_embed.proj.bias": (width,)}
    else:
        wanted = {"class_embedding": (width,), "positional_embedding": (sizes.tokens, width)}
        wanted |= {"conv1.weight": grid, **norm("ln_pre", width)}
    for number in range(sizes.blocks):
        wanted |= _block(sizes, f"{BLOCKS[sizes.family]}{number}")
    return wanted


def _block(sizes: EncoderSizes, name: str) -> Shapes:
    width, inner = sizes.width, sizes.inner
    if sizes.family == "eva":
        return {
            **{f"{name}.attn.{part}_bias": (width,) for part in "qv"},
            f"{name}.attn.qkv.weight": (3 * width, width),
            **linear(f"{name}.attn.proj", width, width),
            **linear(f"{name}.mlp.fc1", inner, width),
            **linear(f"{name}.mlp.fc2", width, inner),
            **norm(f"{name}.norm1", width),
            **norm(f"{name}.norm2", width),
        }
    return {
        f"{name}.attn.in_proj_weight": (3 * width, width),
        f"{name}.attn.in_proj_bias": (3 * width,),
        **linear(f"{name}.attn.out_proj", width, width),
        **linear(f"{name}.mlp.c_fc", inner, width),
        **linear(f"{name}.mlp.c_proj", width, inner),
        **norm(f"{name}.ln_1", width),
        **norm(f"{name}.ln_2", width),
    }
