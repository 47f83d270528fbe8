"""Texts to ids and back: a stored tokenizer, or a stand-in for runs that have no files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from mmbridge_registry import RANDOM, UserError
from mmbridge_registry.language_model import IMAGE
from mmbridge_registry.transformers_folder import one_line, read_settings
from transformers import AutoTokenizer


class Vocabulary(Protocol):
    """Ids of texts, without any special token, and the special ones by role."""

    pad: int
    end: int
    size: int
    """One more than the largest id."""
    silent: Sequence[int]
    """Ids that a model must not write: rows of its table that are no token's, and the image placeholder."""

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: Sequence[int]) -> str: ...


class StandInVocabulary:
    """One id per byte, with T5's own special ids: real shapes at every geometry of the table, and no files."""

    pad, end = 0, 1
    first_byte = 3
    size = first_byte + 256
    silent: Sequence[int] = ()

    def encode(self, text: str) -> list[int]:
        """Give the id of every byte of the text."""
        return [self.first_byte + byte for byte in text.encode()]

    def decode(self, ids: Sequence[int]) -> str:
        """Give the text of the ids that are bytes; all others have none."""
        kept = (i - self.first_byte for i in ids)
        return bytes(byte for byte in kept if 0 <= byte < 256).decode(errors="replace")


class StoredVocabulary:
    """The tokenizer of a local folder."""

    def __init__(self, folder: Path, limit: int) -> None:
        settings = folder / "tokenizer_config.json"
        if settings.exists():
            read_settings(settings)
        with one_line("there is no tokenizer", folder, "Name its folder as `tokenizer`."):
            self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        ids = self._tokenizer.get_vocab()
        self._image = ids.pop(IMAGE, None)
        self.size = 1 + max(ids.values())
        self.silent: Sequence[int] = sorted({*range(limit)} - {*ids.values()})
        self.pad, self.end = self._tokenizer.pad_token_id, self._tokenizer.eos_token_id
        if self.pad is None or self.end is None:
            raise UserError("this tokenizer lacks a pad or an eos token.", where=folder, do="Use T5's own.")

    def encode(self, text: str) -> list[int]:
        """Give the ids of the text alone; a placeholder that somebody spells in it is left out."""
        ids = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return [i for i in ids if i != self._image]

    def decode(self, ids: Sequence[int]) -> str:
        """Give the text of the ids; special ones have none."""
        return self._tokenizer.decode(ids, skip_special_tokens=True)


def vocabulary(source: str, limit: int) -> Vocabulary:
    """Open a tokenizer whose ids must stay below `limit`, the rows of the embedding table."""
    opened = StandInVocabulary() if source == RANDOM else StoredVocabulary(Path(source), limit)
    if opened.size > limit:
        raise UserError(
            f"the tokenizer has {opened.size} tokens, the language model only {limit}.",
            where=source,
            do="Take the tokenizer that belongs to the weights.",
        )
    return opened
