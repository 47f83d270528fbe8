"""How transformers writes text with BLIP-2: a tokenizer with a placeholder for images, ids that configs name."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmbridge_registry import Generation, Published, UserError
from mmbridge_registry.language_model import IMAGE
from torch import Tensor

from mmbridge_blip2.hugging_face.language import HEAD, PREFIX, Family, family_of, rows_of
from mmbridge_blip2.hugging_face.processor import opened

CHAT = """\
{%- for message in messages -%}
{%- set text = message.content if message.content is string else
    message.content | selectattr('type', 'equalto', 'text') | map(attribute='text') | join(' ') -%}
{%- if message.role == 'assistant' -%}{{ ' ' + text + '. ' }}
{%- elif text -%}{{ 'Question: ' + text + ' Answer:' }}{%- endif -%}
{%- endfor -%}"""
"""BLIP-2's own form of a conversation. An image needs no place in it: the processor puts it in front."""


TRANSIENT = {"_name_or_path", "architectures", "transformers_version", "dtype", "torch_dtype"}
"""What a language model's own config says of the file that it came from."""


@dataclass(frozen=True)
class Speech:
    """A language model's words, as transformers' BLIP-2 wants them."""

    published: Published
    family: Family
    tokenizer: Any
    image: int
    """Id of the placeholder."""
    special: Mapping[str, int]
    """Ids that start, end and pad texts, by the keys of configs."""
    silent: tuple[int, ...]
    """Ids that are no words: the placeholder, and rows of the table that are nobody's."""
    rows: int
    """Rows that the table of tokens must have, the placeholder's included."""

    @property
    def grows(self) -> bool:
        """Whether the table has no row to spare for the placeholder."""
        return self.rows > rows_of(self.published, self.family)

    def generation(self) -> dict[str, Any]:
        """Give the settings of generation_config.json."""
        limit = Generation().max_new_tokens
        return {**self.special, "max_new_tokens": limit, "suppress_tokens": list(self.silent)}


def speech_of(published: Published | None) -> Speech:
    """Prepare a language model's tokenizer.

    Raises:
        UserError: it is neither OPT nor T5, or has no tokenizer.
    """
    family = family_of(published)
    assert published is not None  # only then has it a family
    if published.tokenizer is None:
        raise UserError("the language model has no tokenizer.", where="language_model", do="Name one: `tokenizer`.")
    tokenizer, special = (_decoder if family.name == "opt" else _encoder_decoder)(published.tokenizer)
    image = _placeholder(tokenizer)
    tokenizer.chat_template = CHAT
    rows = max(rows_of(published, family), image + 1)
    words = {*tokenizer.get_vocab().values()} - {image}
    silent = tuple(sorted({*range(rows)} - words))
    return Speech(published, family, tokenizer, image, special, silent, rows)


def _decoder(folder: Path) -> tuple[Any, dict[str, int]]:
    """OPT: `</s>` before every text, padding on the left, and a newline ends it."""
    tokenizer = opened(folder, padding_side="left")
    if tokenizer("a")["input_ids"][0] != tokenizer.bos_token_id:
        tokenizer = opened(folder, padding_side="left", add_bos_token=True)
    newline = tokenizer("\n", add_special_tokens=False)["input_ids"][-1]
    bos, pad = tokenizer.bos_token_id, tokenizer.pad_token_id
    return tokenizer, {"bos_token_id": bos, "eos_token_id": newline, "pad_token_id": pad}


def _encoder_decoder(folder: Path) -> tuple[Any, dict[str, int]]:
    """T5: padding on the right; the decoder starts from the pad token."""
    tokenizer = opened(folder, padding_side="right")
    pad, end = tokenizer.pad_token_id, tokenizer.eos_token_id
    # Without a text, transformers puts the bos behind the image. T5 has none; its empty text is the end alone.
    return tokenizer, {"bos_token_id": end, "eos_token_id": end, "pad_token_id": pad, "decoder_start_token_id": pad}


def _placeholder(tokenizer: Any) -> int:
    """Give the placeholder's id: its own, or the next one, for which the table may have a row to spare."""
    from transformers import AddedToken

    if IMAGE not in tokenizer.get_vocab():
        tokenizer.add_tokens([AddedToken(IMAGE, normalized=False, special=True)], special_tokens=True)
    return tokenizer.get_vocab()[IMAGE]


def language_tensors(speech: Speech) -> Iterator[tuple[str, str, Tensor]]:
    """Give transformers' name, the language model's own and the tensor; tables grow by copies of the pad's row."""
    tables = {speech.family.table, *speech.family.twins}
    for name, own in speech.published.tensors.items():
        tensor = own.detach()
        yield f"{PREFIX}{name}", name, _grown(tensor, speech) if name in tables else tensor


def _grown(table: Tensor, speech: Speech) -> Tensor:
    extra = speech.rows - len(table)
    return torch.cat([table, table[speech.special["pad_token_id"]].expand(extra, -1)]) if extra > 0 else table


def text_config(speech: Speech) -> dict[str, Any]:
    """Say the language model's sizes and activation, and the ids by which transformers starts and ends a text."""
    config = {key: value for key, value in speech.published.config.items() if key not in TRANSIENT}
    if "scale_decoder_outputs" in config:
        # Versions before 5 tell a T5 of version 1.1 by this key; later ones tie equal tables whatever it says.
        config["tie_word_embeddings"] = HEAD not in speech.published.tensors
    return {**config, **speech.special, "vocab_size": speech.rows}
