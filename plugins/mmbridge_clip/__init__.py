"""CLIP-style vision transformers by open_clip: `clip_vit` (BLIP-2's ViT-L/14 is one of them)."""

from typing import TYPE_CHECKING, Literal

from mmbridge_registry import VISION_ENCODER, Catalog, Dtype, Options, Weights, hookimpl
from pydantic import Field, PositiveInt, ValidationInfo, field_validator

if TYPE_CHECKING:
    from mmbridge_registry import VisionEncoder

PUBLISHED = {
    "timm/vit_base_patch32_clip_224.openai": "ViT-B-32-quickgelu",
    "timm/vit_base_patch16_clip_224.openai": "ViT-B-16-quickgelu",
    "timm/vit_large_patch14_clip_224.openai": "ViT-L-14-quickgelu",
    "timm/vit_large_patch14_clip_336.openai": "ViT-L-14-336-quickgelu",
}
"""open_clip's names of OpenAI's towers, so that a config can be planned before its weights are fetched."""


class ClipViTOptions(Options):
    """A vision transformer of open_clip, cut behind one of its blocks."""

    weights: Weights = "timm/vit_large_patch14_clip_224.openai"
    """An open_clip folder (`open_clip_config.json`, `open_clip_model.safetensors`), a safetensors file, or `random`."""
    architecture: str | None = Field(None, validate_default=True)
    """open_clip's name of the geometry, such as `ViT-L-14-quickgelu`; None takes the published or the folder's."""
    output_layer: int = -2
    """Block whose output is the features; -2 is the second last (BLIP-2), -1 the last. Later blocks are not kept."""
    image_size: PositiveInt | None = None
    """Side of the input in pixels; None is the tower's own. Positions are resized bicubically, corners aligned."""
    quick_gelu: bool | None = None
    """Activation `x * sigmoid(1.702 x)` instead of erf GELU; None believes the architecture or the folder's config."""
    dtype: Dtype = "float32"
    """Storage and compute type of the tower."""
    augment: Literal["crop_flip", "resize"] = "crop_flip"
    """Training images: a random crop and flip, or the plain resize of evaluation (where left and right matter)."""
    crop_scale: tuple[float, float] = (0.5, 1.0)
    """Smallest and largest share of the image's area that a random crop keeps."""

    @field_validator("architecture")
    @classmethod
    def _of_published_weights(cls, name: str | None, info: ValidationInfo) -> str | None:
        return name or PUBLISHED.get(str(info.data.get("weights")).partition("@")[0])


def build_clip_vit(options: ClipViTOptions) -> "VisionEncoder":
    """Build the tower in eval mode.

    Raises:
        UserError: geometry, files or tensors are missing or do not belong together.
    """
    from mmbridge_clip.encoder import ClipViT

    return ClipViT(options).eval()


@hookimpl
def offer_parts(catalog: Catalog) -> None:
    """Offer `clip_vit`."""
    catalog.offer(VISION_ENCODER, "clip_vit", ClipViTOptions, build_clip_vit)
