"""Weights: from what a config says to a path on this machine. Torch-free; only `fetch` uses the network."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

from mmbridge_registry import RANDOM, Catalog, UserError
from mmbridge_registry.options import WeightsMark

from mmbridge.config import ConfigError
from mmbridge.marked import Named, marked
from mmbridge.recipe import Chosen, Declared

HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*(@[\w./-]+)?")
FETCHED = ["*.safetensors", "*.json", "*.txt", "*.model"]
"""What `fetch` gets: never a pickle (.bin, .pt), which could run code when it is read."""


def locate(value: str, catalog: Catalog, where: object = None) -> Path | Literal["random"]:
    """Find weights: shipped by a plugin, a local path, or a hub id that `mmbridge fetch` has brought here.

    Raises:
        UserError: they are nowhere; the message says where they were looked for.
    """
    if value == RANDOM:
        return RANDOM
    if (shipped := catalog.shipped(value, where)) and shipped.exists():
        return shipped
    path = Path(value).expanduser()
    if path.exists():
        return path
    places = ["weights that plugins ship", f"the path {path.absolute()}"]
    if HUB_ID.fullmatch(value):
        if snapshot := _snapshot(value):
            return snapshot
        places.append(f"the hub cache {_cache()}")
    raise UserError(
        f"weights '{value}' are not on this machine; looked in {', '.join(places)}.",
        where=where,
        do="Run `mmbridge fetch CONFIG` where there is a network, give a local path, or say `random`.",
    )


def with_located(chosen: Chosen, catalog: Catalog) -> Chosen:
    """Give the part with the local path (or `random`) in every field that names weights.

    Raises:
        UserError: weights that are not on this machine.
    """
    found = {named.field: str(locate(named.value, catalog, named.where)) for named in weights_of(chosen)}
    return replace(chosen, options=chosen.options.model_copy(update=found)) if found else chosen


def locate_all(recipe: Declared, catalog: Catalog) -> dict[str, Path | Literal["random"]]:
    """Find all weights of a recipe, by the names that the config gives them.

    Raises:
        ConfigError: a line for each that is not on this machine.
    """
    found, missing = {}, []
    for value, where in _distinct(recipe):
        try:
            found[value] = locate(value, catalog, where)
        except UserError as error:
            missing.append(error)
    if missing:
        raise ConfigError(missing)
    return found


def fetch(recipe: Declared, catalog: Catalog) -> Iterator[tuple[str, Path]]:
    """Download what is named by hub id and not here yet; give each as soon as it is here.

    Raises:
        UserError: the hub does not have it, has no safetensors of it, or cannot be reached.
    """
    for value, where in _distinct(recipe):
        try:
            locate(value, catalog, where)
        except UserError:
            if not HUB_ID.fullmatch(value):
                raise
            yield value, download(value, where)


def repository(value: str) -> str:
    """Give a hub id without its revision; anything else as it is."""
    return value.partition("@")[0] if HUB_ID.fullmatch(value) else value


def weights_of(chosen: Chosen) -> list[Named]:
    """List the fields of a part that name weights; those that are None name none."""
    return marked(chosen, WeightsMark)


def _distinct(recipe: Declared) -> list[tuple[str, str]]:
    named = {named.value: named.where for part in recipe.parts() for named in reversed(weights_of(part))}
    return list(named.items())


def _cache() -> str:
    from huggingface_hub.constants import HF_HUB_CACHE

    return HF_HUB_CACHE


def _snapshot(value: str) -> Path | None:
    """Find a hub id in the local cache; a snapshot that was never fetched whole does not count."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    repo, _, revision = value.partition("@")
    try:
        folder = Path(snapshot_download(repo, revision=revision or None, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    return folder if _whole(folder) else None


def _whole(folder: Path) -> bool:
    indexes = folder.glob("*.safetensors.index.json")
    shards = {shard for index in indexes for shard in json.loads(index.read_text())["weight_map"].values()}
    return all((folder / shard).exists() for shard in shards)


def download(value: str, where: object = None) -> Path:
    """Download a hub id (`owner/name`, `owner/name@revision`) into the hub's own cache; give its folder.

    Raises:
        UserError: the hub does not have it, has no safetensors of it, or cannot be reached.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    repo, _, revision = value.partition("@")
    try:
        folder = Path(snapshot_download(repo, revision=revision or None, allow_patterns=FETCHED))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        what = f"'{value}' cannot be fetched: {reason}"
        raise UserError(what, where=where, do="Check the id and the network.") from error
    if not any(folder.glob("*.safetensors")):
        do = "Give a revision that has them (id@revision), or convert them once."
        raise UserError(f"'{value}' has no .safetensors; pickled weights are never read.", where=where, do=do)
    return folder
