"""What stands before the model: how transformers resizes images, and how it writes text to ids."""

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmbridge_registry.language_model import IMAGE
from mmbridge_registry.transformers_folder import one_line, read_settings

from mmbridge_blip2.lavis.tower import PREPROCESS

FILES = (("processor_config.json", "image_processor"), ("preprocessor_config.json", None))
"""Where versions from 5 on and before keep the settings of images, and under which key."""
RESAMPLE = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""PIL's numbers of interpolations."""
DEC = "[DEC]"


def pixel_settings(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Read mean, standard deviation and interpolation as timm writes them, with a note if nobody says them.

    Raises:
        UserError: a file is damaged.
    """
    for name, key in FILES:
        if (folder / name).is_file():
            said = read_settings(folder / name)
            said = said.get(key) if key else said
            if isinstance(said, dict) and "image_mean" in said:
                with one_line("the settings of images cannot be read", folder / name, "Fetch it again."):
                    interpolation = RESAMPLE[said.get("resample", RESAMPLE.index("bicubic"))]
                    return {"mean": said["image_mean"], "std": said["image_std"], "interpolation": interpolation}, []
    return {**PREPROCESS}, ["Nothing says how images are prepared; CLIP's mean, deviation and bicubic are taken."]


def image_processor(pixels: Mapping[str, Any], side: int) -> Any:
    """Build the image processor with an encoder's own settings."""
    from transformers import BlipImageProcessor

    return BlipImageProcessor(
        size={"height": side, "width": side},
        image_mean=list(pixels["mean"]),
        image_std=list(pixels["std"]),
        resample=RESAMPLE.index(pixels["interpolation"]),
    )


def bridge_tokenizer(folder: Path) -> Any:
    """Open the Q-Former's tokenizer, with [DEC] in it."""
    tokenizer = opened(folder)
    tokenizer.add_special_tokens({"bos_token": DEC})
    return tokenizer


def write_processor(folder: Path, images: Any, tokenizer: Any, queries: int | None) -> None:
    """Write what `AutoProcessor` loads. Without `queries` it puts no placeholders before a text."""
    from transformers import Blip2Processor

    # The processor adds a placeholder of its own, for which a Q-Former's table has no row: files shall not have it.
    Blip2Processor(images, copy.deepcopy(tokenizer), num_query_tokens=queries).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def opened(folder: Path, **settings: Any) -> Any:
    """Open a tokenizer; nothing is fetched and no code of its own is run.

    Raises:
        UserError: there is none.
    """
    from transformers import AutoTokenizer

    config = folder / "tokenizer_config.json"
    if config.is_file():
        read_settings(config)
    with one_line("there is no tokenizer", folder, "Name its folder as `tokenizer`."):
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **settings)


def without_image(folder: Path, scratch: Path) -> Path:
    """Copy a Q-Former's tokenizer without the placeholder that transformers adds to it."""
    for file in folder.iterdir():
        if file.name in {"tokenizer.json", "tokenizer_config.json", "added_tokens.json", "vocab.txt"}:
            text = file.read_text(encoding="utf-8")
            text = json.dumps(_dropped(json.loads(text))) if file.suffix == ".json" else text
            (scratch / file.name).write_text(text, encoding="utf-8")
    return scratch


def _dropped(value: Any) -> Any:
    """Leave the placeholder out of nested JSON, wherever it is listed or counted."""
    if isinstance(value, dict):
        return {key: _dropped(each) for key, each in value.items() if key != IMAGE and not _is_image(each)}
    return [_dropped(each) for each in value if not _is_image(each)] if isinstance(value, list) else value


def _is_image(value: Any) -> bool:
    return value == IMAGE or (isinstance(value, dict) and value.get("content") == IMAGE)


TOKENIZERS = ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model", "tokenizer.model")


def has_tokenizer(folder: Path) -> bool:
    """Whether a tokenizer lies in a folder."""
    return any((folder / name).is_file() for name in TOKENIZERS)


def newline_of(folder: Path) -> int | None:
    """Give the id of a newline, with which BLIP-2's OPT ends a text."""
    ids = opened(folder)("\n", add_special_tokens=False)["input_ids"]
    return ids[-1] if ids else None


def bridge_words(folder: Path) -> tuple[int, bool]:
    """Count the tokens of a Q-Former's tokenizer, [DEC] included, and say whether it has a placeholder besides."""
    tokenizer = bridge_tokenizer(folder)
    has_image = IMAGE in tokenizer.get_vocab()
    return len(tokenizer) - has_image, has_image
