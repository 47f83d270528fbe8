"""The configs that come with mmbridge."""

import os
from collections.abc import Mapping
from pathlib import Path

from mmbridge_registry import UserError
from mmbridge_registry.catalog import did_you_mean

import mmbridge

CARDS = "cards"
"""Folder of the shipped evaluation cards."""


def shipped_folder() -> Path:
    """Give the folder of shipped configs: inside the package when installed, beside it in a checkout."""
    package = Path(mmbridge.__file__).parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def shipped_configs() -> dict[str, Path]:
    """List shipped configs by name; files in `base/` are not configs by themselves."""
    return {path.stem: path for path in sorted(shipped_folder().glob("*.yaml"))}


def shipped_pipelines() -> dict[str, Path]:
    """List shipped configs of other things than runs, by folder and name: `capfilt/blip_large`."""
    folder = shipped_folder()
    found = sorted(path for path in folder.glob("*/*.yaml") if path.parent.name not in ("base", CARDS))
    return {f"{path.parent.name}/{path.stem}": path for path in found}


def shipped_cards() -> dict[str, Path]:
    """List shipped evaluation cards by name."""
    return {path.stem: path for path in sorted((shipped_folder() / CARDS).glob("*.yaml"))}


def find_config(config: str | Path) -> Path:
    """Find a config by its path, or a shipped one by its name (`blip2_tiny`, `configs/blip2_tiny.yaml`).

    Raises:
        UserError: there is neither.
    """
    cards = {f"{CARDS}/{name}": path for name, path in shipped_cards().items()}
    return _find(config, shipped_configs() | shipped_pipelines() | cards, "config")


def find_card(card: str | Path) -> Path:
    """Find an evaluation card by its path, or a shipped one by its name (`coco_caption`).

    Raises:
        UserError: there is neither.
    """
    return _find(card, shipped_cards(), "card", f"{CARDS}/")


def _find(file: str | Path, shipped: Mapping[str, Path], what: str, folder: str = "") -> Path:
    path = Path(file)
    if path.is_file():
        return path
    written = path.as_posix()
    name = written.removeprefix("configs/").removeprefix(folder).removesuffix(".yaml")
    if name in shipped:
        return _near(shipped[name])
    do = "`mmbridge ls` shows what is shipped."
    raise UserError(f"there is no {what} '{written}'{did_you_mean(name, shipped)}", do=do)


def _near(path: Path) -> Path:
    # Messages read better as configs/x.yaml:3 than with the whole path of an installation.
    short = Path(os.path.relpath(path))
    return path if ".." in short.parts else short
