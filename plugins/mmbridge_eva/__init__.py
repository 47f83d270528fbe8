"""Vision transformers by timm: `eva_vit_g` (BLIP-2's EVA-CLIP ViT-g/14) and any other as `timm_vit`."""

from typing import TYPE_CHECKING, Literal

from mmbridge_registry import VISION_ENCODER, Catalog, Dtype, Options, Weights, hookimpl
from pydantic import Field, PositiveFloat, PositiveInt, ValidationInfo, field_validator

if TYPE_CHECKING:
    from mmbridge_registry import VisionEncoder

EVA_VIT_G = "eva_giant_patch14_clip_224"


class CutTowerOptions(Options):
    """What both encoders let their user set."""

    weights: Weights
    """A timm folder (`config.json`, `model.safetensors`), a safetensors file, or `random`."""
    output_layer: int = -2
    """Block whose output is the features; -2 is the second last (BLIP-2), -1 the last. Later blocks are not kept."""
    image_size: PositiveInt | None = None
    """Side of the input in pixels; None is the tower's own. Positions are resized bicubically without antialiasing."""
    norm_eps: PositiveFloat | None = None
    """Epsilon of all norms; None is the architecture's own (EVA-CLIP: 1e-6)."""
    dtype: Dtype = "float32"
    """Storage and compute type of the tower."""
    augment: Literal["crop_flip", "resize"] = "crop_flip"
    """Training images: a random crop and flip, or the plain resize of evaluation (where left and right matter)."""
    crop_scale: tuple[float, float] = (0.5, 1.0)
    """Smallest and largest share of the image's area that a random crop keeps."""


class EvaViTGOptions(CutTowerOptions):
    """EVA-CLIP ViT-g/14, cut behind one of its 40 blocks."""

    weights: Weights = "timm/eva_giant_patch14_clip_224.laion400m"
    """A timm folder (`config.json`, `model.safetensors`), a safetensors file, or `random`."""


class TimmViTOptions(CutTowerOptions):
    """A vision transformer of timm, cut behind one of its blocks."""

    architecture: str | None = Field(None, validate_default=True)
    """timm's name of the geometry, such as `vit_base_patch16_224`; None takes the hub id's or the folder's."""

    @field_validator("architecture")
    @classmethod
    def _of_timms_weights(cls, architecture: str | None, info: ValidationInfo) -> str | None:
        owner, _, name = str(info.data.get("weights")).partition("@")[0].partition("/")
        return architecture or (name.partition(".")[0] if owner == "timm" and name else None)


def build_eva_vit_g(options: EvaViTGOptions) -> "VisionEncoder":
    """Build EVA-CLIP ViT-g/14 in eval mode.

    Raises:
        UserError: files or tensors are missing or do not belong to it.
    """
    from mmbridge_eva.encoder import TimmViT

    return TimmViT(options, EVA_VIT_G).eval()


def build_timm_vit(options: TimmViTOptions) -> "VisionEncoder":
    """Build a timm vision transformer in eval mode.

    Raises:
        UserError: geometry, files or tensors are missing or do not belong together.
    """
    from mmbridge_eva.encoder import TimmViT
    from mmbridge_eva.geometry import architecture_of

    return TimmViT(options, architecture_of(options)).eval()


@hookimpl
def offer_parts(catalog: Catalog) -> None:
    """Offer `eva_vit_g` and `timm_vit`."""
    catalog.offer(VISION_ENCODER, "eva_vit_g", EvaViTGOptions, build_eva_vit_g)
    catalog.offer(VISION_ENCODER, "timm_vit", TimmViTOptions, build_timm_vit)
