"""The side file: what transformers' classes cannot hold, beside the folder that they read. They ignore it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmbridge_registry import UserError
from mmbridge_registry.transformers_folder import read_settings
from safetensors.torch import save_file
from torch import Tensor

from mmbridge_blip2.hugging_face.folder import read_file

TENSORS, SETTINGS, TOKENIZER = "mmbridge.safetensors", "mmbridge.json", "mmbridge_tokenizer"
EPS = "image_norm_eps"
"""The one setting: transformers computes the norm over the features with the encoder's epsilon."""


@dataclass(frozen=True)
class Side:
    """Tensors of the Q-Former by LAVIS' names, settings by ours, and its tokenizer."""

    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    tokenizer: Path | None = None

    @staticmethod
    def called(name: str) -> str:
        """Name a tensor of the side file in reports."""
        return f"{TENSORS}: {name}"

    def write(self, folder: Path) -> None:
        """Write what there is into a folder; the tokenizer is written by whoever has it."""
        if self.tensors:
            save_file({name: tensor.detach().contiguous() for name, tensor in self.tensors.items()}, folder / TENSORS)
        if self.settings:
            (folder / SETTINGS).write_text(json.dumps(dict(self.settings), indent=2))


def read_side(folder: Path) -> Side:
    """Read what an export laid into a folder; nothing, if there is none.

    Raises:
        UserError: it is damaged.
    """
    tensors = read_file(folder / TENSORS) if (folder / TENSORS).is_file() else {}
    settings = read_settings(folder / SETTINGS) if (folder / SETTINGS).is_file() else {}
    if not isinstance(eps := settings.get(EPS, 1.0), float) or not 0 < eps <= 1:
        raise UserError(f"{EPS} is {eps!r}.", where=folder / SETTINGS, do="Remove the file, or export again.")
    return Side(tensors, settings, folder / TOKENIZER if (folder / TOKENIZER).is_dir() else None)
