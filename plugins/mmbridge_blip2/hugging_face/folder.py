"""A BLIP-2 folder of transformers as it lies on disk: config and tensors, looked at before anything is believed."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmbridge_registry import UserError
from mmbridge_registry.transformers_folder import check_weights, one_line, read_settings
from safetensors.torch import load_file
from torch import Tensor

MODEL_TYPE = "blip-2"
CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
AGAIN = "Fetch it again."


@dataclass(frozen=True)
class Folder:
    """What a folder says and holds."""

    path: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    """By their names without what a wrapping model puts before them; mapped from the files, not read into memory."""
    prefix: str

    @property
    def file(self) -> Path:
        """The config, for messages about what it says."""
        return self.path / CONFIG

    def part(self, key: str) -> Mapping[str, Any]:
        """Give what the config says of a part (`vision_config`); empty if nothing."""
        return self.config.get(key) or {}

    def under(self, prefix: str) -> Iterator[tuple[str, Tensor]]:
        """Give the tensors whose names begin so."""
        return ((name, tensor) for name, tensor in self.tensors.items() if name.startswith(prefix))


def is_blip2(source: Path) -> bool:
    """Whether a folder's config says that it is a BLIP-2."""
    try:
        config = json.loads((source / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("model_type") == MODEL_TYPE


def open_folder(path: Path) -> Folder:
    """Read the config and map the tensors.

    Raises:
        UserError: files are missing, cut short, pickled or quantised, or the config asks for code.
    """
    config = read_settings(path / CONFIG)
    for key in ("vision_config", "qformer_config", "text_config"):
        if not isinstance(config.get(key) or {}, dict):
            raise UserError(f"{key} is no object.", where=path / CONFIG, do=AGAIN)
        if "auto_map" in (config.get(key) or {}):
            what = f"{key} asks for code that comes with the weights (`auto_map`), which is never run."
            raise UserError(what, where=path / CONFIG, do="Take weights that need none.")
    if config.get("quantization_config"):
        raise UserError("the weights are quantised.", where=path / CONFIG, do="Take those that are not.")
    tensors = read_tensors(path)
    prefix = next((name.removesuffix("query_tokens") for name in tensors if name.endswith("query_tokens")), None)
    if prefix is None:
        raise UserError("there are no query_tokens in it: this is no whole BLIP-2.", where=path, do=AGAIN)
    return Folder(path, config, {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}, prefix)


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Map the tensors of a folder's one file, or of all its shards.

    Raises:
        UserError: there is no such file, a shard or a tensor is missing, a file is cut short.
    """
    with one_line("the weights cannot be found", folder, AGAIN):
        check_weights(folder)
    if (folder / WEIGHTS).is_file():
        return read_file(folder / WEIGHTS)
    if not (folder / INDEX).is_file():
        raise UserError(f"there is neither {WEIGHTS} nor {INDEX}.", where=folder, do="Get the whole folder.")
    places: Mapping[str, str] = read_settings(folder / INDEX)["weight_map"]
    tensors: dict[str, Tensor] = {}
    for shard in sorted(set(places.values())):
        if not (folder / shard).is_file():
            raise UserError(f"the shard {shard} is missing.", where=folder, do="Get the whole folder.")
        tensors |= read_file(folder / shard)
    if missing := sorted(places.keys() - tensors.keys()):
        raise UserError(f"{missing[0]} is in no shard ({len(missing)} missing).", where=folder / INDEX, do=AGAIN)
    return tensors


def read_file(file: Path) -> dict[str, Tensor]:
    """Map the tensors of one file.

    Raises:
        UserError: it is cut short, or no safetensors at all.
    """
    with one_line("this is no readable safetensors file", file, AGAIN):
        return load_file(file)
