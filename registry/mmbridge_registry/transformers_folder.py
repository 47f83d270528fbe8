"""A kit for plugins whose weights are a folder as transformers writes it.

Folders come from strangers, so they are looked at before anything is built: what could make transformers run their
code, unpickle their files or load something else over the weights is refused.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from textwrap import shorten
from typing import Any

from mmbridge_registry.errors import UserError

ATTENTION = "sdpa"
"""The attention to build with, always named: the one that a config.json names may be code that lies on a hub."""


def read_config(folder: Path, kind: str, title: str) -> dict[str, Any]:
    """Read config.json of a model of this kind (`opt`), which people call by that title (`an OPT`).

    Raises:
        UserError: it is not there, not JSON, of another kind, or comes with code.
    """
    file = folder / "config.json"
    if not file.is_file():
        raise UserError("there is no config.json.", where=folder, do="Give a transformers folder as weights.")
    config = read_settings(file)
    if config.get("model_type") != kind:
        what = f"this is a '{config.get('model_type')}' model, not {title}."
        raise UserError(what, where=file, do="Choose the plugin that fits it.")
    return config


def read_settings(file: Path) -> dict[str, Any]:
    """Read one of a folder's JSON files.

    Raises:
        UserError: it is no JSON object, or asks for code of its own.
    """
    with one_line("this is not JSON", file, "Fetch it again."):
        settings = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(settings, dict):
        raise UserError("this is not a JSON object.", where=file, do="Fetch it again.")
    if "auto_map" in settings:
        what = "it asks for code that comes with the weights (`auto_map`), which is never run."
        raise UserError(what, where=file, do="Take weights that need none.")
    return settings


def check_weights(folder: Path) -> None:
    """Expect weights that are safetensors and nothing else.

    Raises:
        UserError: there are none, the index names other files, or an adapter lies over them.
    """
    index = folder / "model.safetensors.index.json"
    if not any(folder.glob("*.safetensors")):
        raise UserError(
            "there is no .safetensors file; pickled weights (.bin) are never read.",
            where=folder,
            do="Get a revision that has safetensors, or convert it once.",
        )
    if (folder / "adapter_config.json").exists():
        raise UserError("an adapter lies beside the weights.", where=folder, do="Merge it into them, or remove it.")
    if index.exists():
        with one_line("the index cannot be read", index, "Fetch it again."):
            for shard in sorted(set(read_settings(index)["weight_map"].values())):
                if PurePath(shard).name != shard or not shard.endswith(".safetensors"):
                    what = f"a shard is '{shard}'; only .safetensors in this folder are ever read."
                    raise UserError(what, where=index, do="Get a revision that has safetensors.")


@contextmanager
def one_line(what: str, where: Path, do: str) -> Iterator[None]:
    """Tell whatever a library says of a broken folder in one line.

    Raises:
        UserError: something inside raised any exception.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as cause:  # transformers and tokenizers agree on no narrower class
        why = shorten(str(cause), 240) or type(cause).__name__
        if "ignore_mismatched_sizes" in why:
            why = "tensors have other shapes than config.json says"
        raise UserError(f"{what}: {why}.", where=where, do=do) from cause
