"""The tower: open_clip's own vision transformer, cut behind the block that options name."""

from typing import cast

import torch
from mmbridge_registry import RANDOM, Published, UserError, VisionEncoder
from mmbridge_registry.published import OPEN_CLIP
from mmbridge_registry.vision_encoder import ImageTransform
from open_clip import CLIP, CLIPTextCfg
from open_clip.transformer import VisionTransformer
from torch import Tensor

from mmbridge_clip import ClipViTOptions
from mmbridge_clip.geometry import Geometry, geometry_of
from mmbridge_clip.tensors import load_tensors
from mmbridge_clip.transform import image_transform


class ClipViT(VisionEncoder):
    """An open_clip vision transformer without its last blocks, final norm and projection; [CLS] comes first."""

    safe_dtypes = frozenset({torch.float32, torch.bfloat16, torch.float16})

    def __init__(self, options: ClipViTOptions) -> None:
        super().__init__()
        self.options = options
        self.geometry = geometry_of(options)
        dtype = getattr(torch, options.dtype)
        if options.weights == RANDOM or torch.get_default_device().type == "meta":
            self.visual = build_visual(self.geometry, options.output_layer).to(dtype)
        else:
            with torch.device("meta"):  # nothing is drawn that the file replaces anyway
                self.visual = build_visual(self.geometry, options.output_layer)
            load_tensors(self.visual, options.weights, dtype)
        self.width = self.geometry.vision["width"]
        self.image_size = self.geometry.image_size
        self.num_tokens = self.visual.positional_embedding.shape[0]

    def transform(self, train: bool) -> ImageTransform:
        """Give the transform with the mean, standard deviation and interpolation that the tower was trained with."""
        scale = self.options.crop_scale if train and self.options.augment == "crop_flip" else None
        return image_transform(self.image_size, self.geometry.preprocess, scale)

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode pixels [B,3,H,W] to features [B,N,W] in the tower's dtype."""
        last = len(self.visual.transformer.resblocks) - 1
        out = self.visual.forward_intermediates(
            pixels.to(self.visual.conv1.weight.dtype),
            indices=[last],
            intermediates_only=True,
            output_fmt="NLC",
            output_extra_tokens=True,
        )
        return torch.cat([out["image_intermediates_prefix"][0], out["image_intermediates"][0]], dim=1)

    def published(self) -> Published:
        """Give the blocks that are kept as the image half of an open_clip model of that depth."""
        geometry = self.geometry
        vision = geometry.vision | {"layers": len(self.visual.transformer.resblocks)}
        model = {"embed_dim": geometry.embed_dim, "quick_gelu": geometry.quick_gelu, "vision_cfg": vision}
        config = {"model_cfg": model | {"text_cfg": {}}, "preprocess_cfg": geometry.preprocess}
        return Published(OPEN_CLIP, config, dict(self.visual.named_parameters()))


def build_visual(geometry: Geometry, output_layer: int) -> VisionTransformer:
    """Build the image half of a CLIP with random weights and cut it behind block `output_layer`.

    Raises:
        UserError: the architecture is no open_clip vision transformer, or has no such block.
    """
    no_text = CLIPTextCfg(context_length=1, vocab_size=1, width=8, heads=1, layers=1)
    visual = CLIP(geometry.embed_dim, geometry.vision, no_text, quick_gelu=geometry.quick_gelu).visual  # type: ignore
    visual = cast(VisionTransformer, visual)
    blocks = len(visual.transformer.resblocks)
    if not -blocks <= output_layer < blocks:
        raise UserError(
            f"there is no block {output_layer} in {geometry.name}, which has {blocks}",
            where="clip_vit",
            do=f"Set output_layer between {-blocks} and {blocks - 1}.",
        )
    visual.prune_intermediate_layers([output_layer % blocks], prune_norm=True, prune_head=True)
    visual.attn_pool = None
    return visual
