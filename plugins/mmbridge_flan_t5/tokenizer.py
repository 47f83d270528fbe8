"""T5's text format: the encoder reads prefix and `</s>`, the decoder writes target and `</s>`."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from mmbridge_registry import LanguageTokens, Tokens
from mmbridge_registry.language_model import IGNORED
from mmbridge_registry.prompts import texts_around, with_slots
from torch import Tensor

from mmbridge_flan_t5.vocabulary import Vocabulary, vocabulary


@dataclass(frozen=True)
class FlanT5Tokenizer:
    """Turns (prompt, target) into what the encoder reads and what the decoder writes.

    Picklable and light: files are read when the first text comes, in every process for itself.
    """

    source: str
    """Folder of the tokenizer, or `random` for the stand-in."""
    vocab_size: int
    """Rows of the embedding table."""
    max_length: int

    def __call__(self, prompts: Sequence[str], targets: Sequence[str]) -> LanguageTokens:
        """Tokenise for training: both sides cut to `max_length`, `</s>` kept, padded on the right."""
        inputs = self._stacked([self._closed(prompt, self.max_length) for prompt in prompts])
        return LanguageTokens(inputs, self.labels(targets, self.max_length))

    def prompts(self, prompts: Sequence[str], queries: int) -> Tokens:
        """Tokenise for generation, with `queries` slots per image; never cut, padded on the right."""
        rows = ([self.vocabulary.encode(text) for text in texts_around(prompt)] for prompt in prompts)
        return self._stacked([[*with_slots(texts, queries), self.vocabulary.end] for texts in rows])

    def labels(self, targets: Sequence[str], limit: int | None = None) -> Tensor:
        """Tokenise what the decoder writes [B,T']; pads are not scored."""
        return padded([self._closed(target, limit) for target in targets], IGNORED)

    def decode(self, ids: Tensor) -> list[str]:
        """Give the text of generated rows [B,T]: no special token."""
        return [self.vocabulary.decode(row).strip() for row in ids.tolist()]

    def _closed(self, text: str, limit: int | None) -> list[int]:
        ids = self.vocabulary.encode(text)
        return [*(ids if limit is None else ids[: limit - 1]), self.vocabulary.end]

    def _stacked(self, rows: Sequence[list[int]]) -> Tokens:
        return Tokens(padded(rows, self.vocabulary.pad), padded([[1] * len(row) for row in rows], 0).bool())

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The ids themselves, opened once per process."""
        return vocabulary(self.source, self.vocab_size)

    def __getstate__(self) -> dict[str, object]:
        return {key: value for key, value in self.__dict__.items() if key != "vocabulary"}


def padded(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    """Stack rows of different lengths to [B,T] int64, filled up on the right."""
    tensors = [torch.tensor(row, dtype=torch.int64) for row in rows]
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=value)
