"""What a timm tower looks like: from timm's list of architectures or from a folder's own config."""

import json
from pathlib import Path
from typing import Any

import timm
from mmbridge_registry import RANDOM, UserError
from mmbridge_registry.catalog import did_you_mean

from mmbridge_eva import TimmViTOptions

CONFIG = "config.json"


def architecture_of(options: TimmViTOptions) -> str:
    """Find timm's name of the tower that options mean.

    Raises:
        UserError: neither options nor folder name one, or timm does not know it.
    """
    name = options.architecture or folder_config(options.weights).get("architecture")
    if name is None:
        raise UserError(
            f"weights '{options.weights}' do not say which architecture they are",
            where="timm_vit",
            do=f"Set architecture (such as vit_base_patch16_224), or give a folder with timm's {CONFIG}.",
        )
    if not timm.is_model(name):
        raise UserError(f"timm has no architecture '{name}'{did_you_mean(name, timm.list_models())}", where="timm_vit")
    return name


def folder_config(weights: str) -> dict[str, Any]:
    """Read timm's config beside the weights; empty if there is none."""
    path = Path(weights)
    config = (path if path.is_dir() else path.parent) / CONFIG
    return json.loads(config.read_text()) if weights != RANDOM and config.is_file() else {}
