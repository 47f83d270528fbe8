"""Folders of towers: a published part on disk, as its library and its plugin read it."""

import json
import shutil
from pathlib import Path

from huggingface_hub import save_torch_state_dict
from mmbridge_registry import Published, UserError
from mmbridge_registry.published import OPEN_CLIP, TIMM, TRANSFORMERS

FILES = {
    TIMM: ("config.json", "model{suffix}.safetensors", ""),
    OPEN_CLIP: ("open_clip_config.json", "open_clip_model{suffix}.safetensors", "visual."),
    TRANSFORMERS: ("config.json", "model{suffix}.safetensors", ""),
}
"""By layout: where its config lies, where its tensors, and what stands before their names."""
SHARD = "5GB"
"""A shard is in memory while it is written. All vision encoders fit one, which their libraries want."""

TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "vocab.txt", "merges.txt", "spiece.model", "tokenizer.model",
)  # fmt: skip


def write_tower(tower: Published, folder: Path) -> None:
    """Write config, tensors and tokenizer; tensors keep their dtype."""
    config, pattern, prefix = FILES[tower.layout]
    folder.mkdir(parents=True)
    (folder / config).write_text(json.dumps(dict(tower.config), indent=2))
    named = {f"{prefix}{name}": tensor.detach().contiguous() for name, tensor in tower.tensors.items()}
    save_torch_state_dict(named, folder, filename_pattern=pattern, max_shard_size=SHARD, metadata={"format": "pt"})
    if tower.tokenizer is not None:
        copy_tokenizer(tower.tokenizer, folder)


def copy_tokenizer(source: Path, folder: Path) -> None:
    """Copy the files of a tokenizer, and nothing else.

    Raises:
        UserError: there are none.
    """
    files = [source / name for name in TOKENIZER_FILES if (source / name).is_file()]
    if not files:
        raise UserError("there is no tokenizer here.", where=source, do="Get the whole folder.")
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copyfile(file, folder / file.name)
