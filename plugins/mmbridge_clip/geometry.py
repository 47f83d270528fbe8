"""What an open_clip tower looks like: from open_clip's list of architectures or from a folder's own config."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
from mmbridge_registry import RANDOM, UserError
from mmbridge_registry.catalog import did_you_mean

from mmbridge_clip import ClipViTOptions

CONFIG = "open_clip_config.json"
PREPROCESS = {
    "mean": open_clip.OPENAI_DATASET_MEAN,
    "std": open_clip.OPENAI_DATASET_STD,
    "interpolation": "bicubic",
}


@dataclass(frozen=True)
class Geometry:
    """Everything about a tower but its tensors."""

    name: str
    embed_dim: int
    vision: dict[str, Any]
    quick_gelu: bool
    preprocess: dict[str, Any]

    @property
    def image_size(self) -> int:
        """Side of the square input in pixels."""
        return self.vision["image_size"]


def geometry_of(options: ClipViTOptions) -> Geometry:
    """Find the geometry that options name.

    Raises:
        UserError: no or an unknown architecture, one that is no ViT, a size that patches do not fill, or an
            activation that the weights were not trained with.
    """
    folder = _folder_config(options.weights)
    model = _listed(options.architecture) if options.architecture else folder.get("model_cfg")
    if model is None:
        raise UserError(
            f"weights '{options.weights}' do not say which architecture they are",
            where="clip_vit",
            do=f"Set architecture (such as ViT-L-14-quickgelu), or give a folder with {CONFIG}.",
        )
    name = options.architecture or str(Path(options.weights) / CONFIG)
    quick_gelu = bool(model.get("quick_gelu", False)) if options.quick_gelu is None else options.quick_gelu
    if options.quick_gelu is None:
        _refuse_wrong_gelu(options, name, quick_gelu, folder.get("model_cfg"))
    vision = _square(model["vision_cfg"], options.image_size, name)
    preprocess = PREPROCESS | folder.get("preprocess_cfg", {})
    return Geometry(name, model["embed_dim"], vision, quick_gelu, preprocess)


def _folder_config(weights: str) -> dict[str, Any]:
    path = Path(weights)
    config = (path if path.is_dir() else path.parent) / CONFIG
    return json.loads(config.read_text()) if weights != RANDOM and config.is_file() else {}


def _listed(architecture: str) -> dict[str, Any]:
    known = open_clip.list_models()
    if architecture not in known:
        raise UserError(
            f"open_clip has no architecture '{architecture}'{did_you_mean(architecture, known)}", where="clip_vit"
        )
    config = open_clip.get_model_config(architecture)
    assert config is not None  # it is listed
    return config


def _square(vision: dict[str, Any], image_size: int | None, name: str) -> dict[str, Any]:
    if vision.get("timm_model_name") or not isinstance(vision.get("layers", 12), int):
        raise UserError(
            f"{name} is no vision transformer of open_clip's own", where="clip_vit", do="Take the encoder timm_vit."
        )
    vision = {"width": 768, "patch_size": 16, "image_size": 224} | vision  # open_clip's defaults
    size = image_size or vision["image_size"]
    if not isinstance(size, int) or size % vision["patch_size"]:
        raise UserError(
            f"an image of {size} px is not filled by patches of {vision['patch_size']} px",
            where="clip_vit",
            do="Set image_size to a multiple of the patch.",
        )
    return vision | {"image_size": size}


def _refuse_wrong_gelu(options: ClipViTOptions, name: str, chosen: bool, own: dict[str, Any] | None) -> None:
    """Refuse to compute the wrong activation, which loads without a murmur and is a little off everywhere.

    Evidence is the folder's own config, or a published tag in the path (`...clip_224.openai`).
    """
    tag = _published_tag(options.weights, name)
    if own is not None and bool(own.get("quick_gelu", False)) != chosen:
        evidence = f"the weights' own {CONFIG} says"
    elif tag is not None and not chosen:
        evidence = f"weights called '{tag}' want"
    else:
        return
    gelu = {True: "QuickGELU", False: "erf GELU"}
    suffix = {True: "without", False: "with"}[chosen]
    raise UserError(
        f"{name} has {gelu[chosen]}, but {evidence} {gelu[not chosen]}",
        where="clip_vit",
        do=f"Name the architecture {suffix} '-quickgelu', or set quick_gelu yourself.",
    )


def _published_tag(weights: str, architecture: str) -> str | None:
    """Find a tag in the path's end (a file, a folder, a hub snapshot) that open_clip trained with QuickGELU."""
    end = "/".join(Path(weights).parts[-3:]).lower()
    tags = [tag for tag in open_clip.list_pretrained_tags_by_model(architecture) if tag in end]
    config = open_clip.get_pretrained_cfg(architecture, max(tags, key=len)) if tags else {}
    return max(tags, key=len) if config.get("quick_gelu") else None
