"""A tokenizer with a placeholder of its own, as checkpoints of transformers' BLIP-2 bring one."""

import shutil
from pathlib import Path

from transformers import AddedToken, AutoTokenizer


def with_image_token(folder: Path, copy: Path) -> tuple[Path, int]:
    """Copy a model's folder and give its tokenizer the special token `<image>`; also gives its id, the next free."""
    shutil.copytree(folder, copy)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([AddedToken("<image>", normalized=False, special=True)], special_tokens=True)
    tokenizer.save_pretrained(copy)
    return copy, tokenizer.convert_tokens_to_ids("<image>")
