"""Captions to tokens, and back: BERT's WordPiece with one more token, [DEC], that starts decoding."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from mmbridge_registry import Tokens, UserError
from torch import Tensor

DEC = "[DEC]"


class QFormerTokenizer:
    """Turns texts into [CLS] ... [SEP], padded to the longest on the right. Pickles as a path, loads when first used.

    Special tokens are found by role, not by id, so that any tokenizer with cls, sep and pad tokens will do.

    Raises:
        UserError: when first used, if there is no folder or no tokenizer in it.
    """

    def __init__(self, folder: Path | None, max_length: int = 32) -> None:
        self.folder = folder
        self.max_length = max_length

    @cached_property
    def _bert(self) -> Any:
        from transformers import AutoTokenizer

        if self.folder is None:
            raise UserError(
                "the Q-Former has no tokenizer.",
                where="qformer.tokenizer",
                do="Name a folder that holds one, or start from a BERT (`init`).",
            )
        try:
            bert = AutoTokenizer.from_pretrained(self.folder, local_files_only=True, padding_side="right")
        except (OSError, ValueError) as error:
            raise UserError(
                f"there is no tokenizer in {self.folder}: {str(error).splitlines()[0]}",
                where="qformer.tokenizer",
                do="Name a folder that holds one.",
            ) from error
        bert.add_special_tokens({"bos_token": DEC})
        return bert

    def __len__(self) -> int:
        return len(self._bert)

    def __call__(self, texts: Sequence[str]) -> Tokens:
        batch = self._bert(
            list(texts), padding="longest", truncation=True, max_length=self.max_length, return_tensors="pt"
        )
        return Tokens(batch["input_ids"], batch["attention_mask"].bool())

    def decode(self, ids: Tensor) -> list[str]:
        """Turn rows of ids [B,T] into texts, without special tokens."""
        return [text.strip() for text in self._bert.batch_decode(ids, skip_special_tokens=True)]

    @property
    def start(self) -> int:
        """Id of [DEC]."""
        return self._bert.bos_token_id

    @property
    def end(self) -> int:
        """Id of [SEP], which ends a text."""
        return self._bert.sep_token_id

    @property
    def padding(self) -> int:
        """Id of [PAD]."""
        return self._bert.pad_token_id

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "max_length": self.max_length}
