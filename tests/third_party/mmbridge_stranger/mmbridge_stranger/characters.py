"""A tokenizer of printable characters: prompt, gap, target, end in one row."""

from collections.abc import Sequence

import torch
from mmbridge_registry import LanguageTokens, Tokens
from mmbridge_registry.language_model import IGNORED
from torch.nn.utils.rnn import pad_sequence

PAD, GAP, END = 0, 1, 2
FIRST = 3
SIZE = FIRST + 95


def encode(text: str) -> list[int]:
    """Give an id per character; what is not printable ASCII becomes a question mark."""
    return [FIRST + ord(c) - 32 if 32 <= ord(c) < 127 else FIRST + ord("?") - 32 for c in text]


def decode(ids: Sequence[int]) -> str:
    """Give the characters of the ids."""
    return "".join(chr(i - FIRST + 32) for i in ids if i >= FIRST)


class CharacterTokenizer:
    """Rows padded on the right; only target and end are scored."""

    def __call__(self, prompts: Sequence[str], targets: Sequence[str]) -> LanguageTokens:
        asked = [[*encode(prompt), GAP] for prompt in prompts]
        told = [[*encode(target), END] for target in targets]
        pairs = list(zip(asked, told, strict=True))
        ids = pad_sequence([torch.tensor(a + b) for a, b in pairs], batch_first=True, padding_value=PAD)
        labels = [torch.tensor([IGNORED] * len(a) + b) for a, b in pairs]
        return LanguageTokens(Tokens(ids, ids != PAD), pad_sequence(labels, batch_first=True, padding_value=IGNORED))
