"""OPT's text format: `</s>` first, newline last."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from mmbridge_registry import LanguageTokens, Tokens
from mmbridge_registry.language_model import IGNORED
from torch import Tensor

from mmbridge_opt.vocabulary import Vocabulary, vocabulary


@dataclass(frozen=True)
class OptTokenizer:
    """Turns (prompt, target) into one row: `</s>` prompt target newline.

    Picklable and light: files are read when the first text comes, in every process for itself.
    """

    source: str
    """Folder of the tokenizer, or `random` for the stand-in."""
    vocab_size: int
    """Rows of the embedding table."""
    max_length: int
    keep_newline: bool

    def __call__(self, prompts: Sequence[str], targets: Sequence[str]) -> LanguageTokens:
        """Tokenise for training: cut to `max_length`, padded on the right, only target and end scored."""
        return self.pairs(prompts, targets, self.max_length)

    def pairs(self, prompts: Sequence[str], targets: Sequence[str], limit: int | None = None) -> LanguageTokens:
        """Tokenise (prompt, target) pairs; without a limit nothing is cut."""
        rows = [self._row(prompt, target, limit) for prompt, target in zip(prompts, targets, strict=True)]
        ids = padded([ids for ids, _ in rows], self.vocabulary.pad)
        mask = padded([[1] * len(ids) for ids, _ in rows], 0).bool()
        return LanguageTokens(Tokens(ids, mask), padded([labels for _, labels in rows], IGNORED))

    def prompts(self, prompts: Sequence[str]) -> Tokens:
        """Tokenise for generation: never cut, padded on the left, so that every row is continued at its end."""
        rows = [self._given(prompt) or [self.vocabulary.bos] for prompt in prompts]
        ids = padded([row[::-1] for row in rows], self.vocabulary.pad).flip(1)
        return Tokens(ids, padded([[1] * len(row) for row in rows], 0).bool().flip(1))

    def decode(self, ids: Tensor) -> list[str]:
        """Give the text of generated rows [B,T]: no special token, no newline at the end."""
        return [self.vocabulary.decode(row).strip() for row in ids.tolist()]

    def _given(self, prompt: str) -> list[int]:
        text = prompt.rstrip()  # a blank belongs to the word after it
        return [self.vocabulary.bos, *self.vocabulary.encode(text)] if text else []

    def _row(self, prompt: str, target: str, limit: int | None) -> tuple[list[int], list[int]]:
        given, text, newline = self._given(prompt), target.strip(), self.vocabulary.newline
        if given:
            ids = [*given, *self.vocabulary.encode(f" {text}"), newline]
        else:
            ids = [self.vocabulary.bos, *self.vocabulary.encode(text), newline]
        cut = ids[:limit]
        if self.keep_newline and len(given) < len(cut) < len(ids):
            cut[-1] = newline
        return cut, [IGNORED if place < len(given) else token for place, token in enumerate(cut)]

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
