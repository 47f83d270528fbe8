"""OPT's text format: `</s>` first, newline last."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from mmbridge_registry import LanguageTokens, Tokens
from mmbridge_registry.language_model import IGNORED
from mmbridge_registry.prompts import SLOT, texts_around, with_slots
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
        pairs = zip(prompts, targets, strict=True)
        return self._labelled([self._row(self._opened(prompt), target, self.max_length) for prompt, target in pairs])

    def prompts(self, prompts: Sequence[str], queries: int) -> Tokens:
        """Tokenise for generation, with `queries` slots per image; never cut, padded so that all rows end together.

        Pads stand after a leading image or else after the leading `</s>`: transformers would take pads in front for
        text and not penalise the repetition of as many new tokens.
        """
        rows = [with_slots(self._texts(prompt), queries) for prompt in prompts]
        longest = max(map(len, rows), default=0)
        ids, mask = [], []
        for row in rows:
            lead, gap = queries if row[0] == SLOT else 1, longest - len(row)
            ids.append([*row[:lead], *[self.vocabulary.pad] * gap, *row[lead:]])
            mask.append([*[1] * lead, *[0] * gap, *[1] * (len(row) - lead)])
        return Tokens(padded(ids, self.vocabulary.pad), padded(mask, 0).bool())

    def openings(self, prompts: Sequence[str], queries: int) -> Tokens:
        """Tokenise prompts up to their last image; padded on the right."""
        return self._stacked([with_slots([*self._texts(prompt)[:-1], []], queries) for prompt in prompts])

    def endings(self, prompts: Sequence[str], targets: Sequence[str]) -> LanguageTokens:
        """Tokenise what comes after the last image, with targets; nothing is cut."""
        rows = [self._row(self._texts(prompt)[-1], target) for prompt, target in zip(prompts, targets, strict=True)]
        return self._labelled(rows)

    def decode(self, ids: Tensor) -> list[str]:
        """Give the text of generated rows [B,T]: no special token, no newline at the end."""
        return [self.vocabulary.decode(row).strip() for row in ids.tolist()]

    def _opened(self, prompt: str) -> list[int]:
        return [self.vocabulary.bos, *self.vocabulary.encode(prompt.rstrip())]  # a blank belongs to the word after it

    def _texts(self, prompt: str) -> list[list[int]]:
        """Ids of the texts around a prompt's images; `</s>` opens the first that is not empty, or else the last."""
        *texts, last = texts_around(prompt)
        ids = [self.vocabulary.encode(text) for text in (*texts, last.rstrip())]
        first = next((place for place, text in enumerate(ids) if text), -1)
        ids[first] = [self.vocabulary.bos, *ids[first]]
        return ids

    def _row(self, given: list[int], target: str, limit: int | None = None) -> tuple[list[int], list[int]]:
        text, newline = target.strip(), self.vocabulary.newline
        told = 0 if given == [self.vocabulary.bos] else len(given)
        ids = [*given, *self.vocabulary.encode(f" {text}" if told else text), newline]
        cut = ids[:limit]
        if self.keep_newline and told < len(cut) < len(ids):
            cut[-1] = newline
        return cut, [IGNORED if place < told else token for place, token in enumerate(cut)]

    def _labelled(self, rows: Sequence[tuple[list[int], list[int]]]) -> LanguageTokens:
        return LanguageTokens(self._stacked([ids for ids, _ in rows]), padded([labels for _, labels in rows], IGNORED))

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
