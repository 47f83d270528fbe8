"""The tower: timm's own vision transformer, cut behind the block that options name."""

import math
from typing import Any

import timm
import torch
from mmbridge_registry import RANDOM, Published, UserError, VisionEncoder
from mmbridge_registry.published import TIMM
from mmbridge_registry.vision_encoder import ImageTransform
from torch import Tensor, nn

from mmbridge_eva import EVA_VIT_G, CutTowerOptions
from mmbridge_eva.geometry import folder_config
from mmbridge_eva.tensors import load_tensors
from mmbridge_eva.transform import image_transform

VIT_HAS = ("blocks", "patch_embed", "pos_embed", "num_prefix_tokens", "prune_intermediate_layers")


class TimmViT(VisionEncoder):
    """A timm vision transformer without its last blocks, final norm and head; prefix tokens ([CLS]) come first."""

    safe_dtypes = frozenset({torch.float32, torch.bfloat16})

    def __init__(self, options: CutTowerOptions, architecture: str) -> None:
        super().__init__()
        self.options, self.architecture = options, architecture
        if architecture == EVA_VIT_G:  # LAVIS runs it in float16
            self.safe_dtypes |= {torch.float16}
        dtype = getattr(torch, options.dtype)
        if options.weights == RANDOM or torch.get_default_device().type == "meta":
            self.vit = build_vit(architecture, options).to(dtype)
        else:
            with torch.device("meta"):  # nothing is drawn that the file replaces anyway
                vit = build_vit(architecture, options).to(dtype)
            self.vit = vit.to_empty(device=torch.get_default_device())
            restore_buffers(self.vit)
            load_tensors(self.vit, options.weights, dtype)
        self.width = self.vit.embed_dim
        self.image_size = self.vit.patch_embed.img_size[0]
        self.num_tokens = self.vit.patch_embed.num_patches + self.vit.num_prefix_tokens
        self.preprocess = self.vit.pretrained_cfg | folder_config(options.weights).get("pretrained_cfg", {})

    def transform(self, train: bool) -> ImageTransform:
        """Give the transform with the mean, standard deviation and interpolation that the tower was trained with."""
        scale = self.options.crop_scale if train and self.options.augment == "crop_flip" else None
        return image_transform(self.image_size, self.preprocess, scale)

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode pixels [B,3,H,W] to features [B,N,W] in the tower's dtype."""
        return self.vit.forward_features(pixels.to(self.vit.patch_embed.proj.weight.dtype))

    def published(self) -> Published:
        """Give the blocks that are kept as a timm tower of that depth."""
        names = dict(self.vit.named_parameters())
        tensors = {name: tensor for name, tensor in self.vit.state_dict(keep_vars=True).items() if name in names}
        config = {
            "architecture": self.architecture,
            "num_classes": 0,
            "model_args": sizes_of(self.vit),
            "pretrained_cfg": {key: self.preprocess[key] for key in ("mean", "std", "interpolation")},
            "norm_eps": self.vit.blocks[0].norm1.eps,
            "activation": type(self.vit.blocks[0].mlp.act).__name__,
        }
        return Published(TIMM, config, tensors)


def build_vit(architecture: str, options: CutTowerOptions) -> Any:
    """Build a timm vision transformer with random weights and cut it behind block `options.output_layer`.

    Raises:
        UserError: the architecture is no plain vision transformer, or has no such block, or patches do not fill
            the image.
    """
    sizes = dict(folder_config(options.weights).get("model_args", {}))
    if options.image_size is not None:
        sizes["img_size"] = options.image_size
    vit: Any = timm.create_model(architecture, pretrained=False, **sizes)
    if not all(hasattr(vit, name) for name in VIT_HAS):
        raise UserError("this is no plain vision transformer", where=architecture, do="Take a `vit_...`.")
    side, patch = vit.patch_embed.img_size[0], vit.patch_embed.patch_size[0]
    if side % patch:
        raise UserError(
            f"an image of {side} px is not filled by patches of {patch} px",
            where=architecture,
            do="Set image_size to a multiple of the patch.",
        )
    blocks = len(vit.blocks)
    if not -blocks <= options.output_layer < blocks:
        raise UserError(
            f"there is no block {options.output_layer} in this tower, which has {blocks}",
            where=architecture,
            do=f"Set output_layer between {-blocks} and {blocks - 1}.",
        )
    vit.prune_intermediate_layers([options.output_layer % blocks], prune_norm=True, prune_head=True)
    for module in vit.modules():
        if options.norm_eps is not None and isinstance(module, nn.LayerNorm):
            module.eps = options.norm_eps
    return vit


def sizes_of(vit: Any) -> dict[str, Any]:
    """Read off a tower what timm needs to build it: `model_args` of a timm folder."""
    width, inner = vit.embed_dim, vit.blocks[0].mlp.fc1.out_features
    ratio = inner / width
    return {
        "img_size": vit.patch_embed.img_size[0],
        "patch_size": vit.patch_embed.patch_size[0],
        "embed_dim": width,
        "depth": len(vit.blocks),
        "num_heads": vit.blocks[0].attn.num_heads,
        # timm rounds down what it multiplies, and may lose one.
        "mlp_ratio": ratio if int(width * ratio) == inner else math.nextafter(ratio, inner),
    }


def restore_buffers(vit: nn.Module) -> None:
    """Compute the buffers that no file holds (EVA's zero key bias, rotary tables) after a build on meta."""
    for module in vit.modules():
        if hasattr(module, "init_non_persistent_buffers"):
            module.init_non_persistent_buffers()  # type: ignore[operator]
