"""The contract of language models."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from mmbridge_registry.options import Generation
from mmbridge_registry.tokens import Tokens
from mmbridge_registry.tower import Tower

IGNORED = -100
"""Label of a position that is not scored."""
IMAGE = "<image>"
"""Where an image stands in a prompt that has several, or one that does not stand in front."""


@dataclass(frozen=True)
class LanguageTokens:
    """A batch of (prompt, target) pairs as one language model wants them.

    A decoder has `inputs` = prompt and target in one row and `labels` [B,T] aligned with them; an encoder-decoder has
    `inputs` = what the encoder reads and `labels` [B,T'] = what the decoder writes. Not scored: -100.
    """

    inputs: Tokens
    labels: Tensor

    def __len__(self) -> int:
        return len(self.inputs)

    def select(self, index: Tensor | slice) -> "LanguageTokens":
        """Pick rows."""
        return LanguageTokens(self.inputs.select(index), self.labels[index])

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "LanguageTokens":
        """Copy to a device."""
        return LanguageTokens(self.inputs.to(device, non_blocking), self.labels.to(device, non_blocking=non_blocking))


class LanguageTokenizer(Protocol):
    """Turns prompts and targets into tokens. Picklable: it runs in loader workers.

    Beginning, end, padding side and truncation are the language model's business and happen here.
    """

    def __call__(self, prompts: Sequence[str], targets: Sequence[str]) -> LanguageTokens: ...


@dataclass(frozen=True)
class TokenLoss:
    """A sum of token losses (float32 scalar) and the number of tokens in it, so that means can be taken globally."""

    total: Tensor
    count: Tensor


class LanguageModel(Tower, ABC):
    """A frozen language model that reads a soft prompt [B,Q,E] before any text."""

    width: int
    """Width E of its token embeddings."""
    kind: Literal["decoder", "encoder_decoder"]
    safe_dtypes: frozenset[torch.dtype]
    """Dtypes in which its forward is known to be finite; the run refuses others at start."""
    tokenizer: LanguageTokenizer

    @property
    @abstractmethod
    def token_scale(self) -> float:
        """Root mean square of the token embeddings: the size at which a soft prompt looks like text."""

    @abstractmethod
    def loss(self, soft_prompt: Tensor, tokens: LanguageTokens) -> TokenLoss:
        """Cross-entropy of the targets, given soft prompts [B,Q,E] before the inputs; no smoothing."""

    @abstractmethod
    def generate(self, soft_prompt: Tensor, prompts: Sequence[str], generation: Generation) -> list[str]:
        """Write one text per prompt, given the soft prompts [I,Q,E] of all their images, in order.

        A prompt without `IMAGE` has one image, which stands before it; a prompt with n of them has n images, each in
        its own place. Prompts may be empty and differ in length. A batch gives what its rows give alone. The prompt is
        not part of what is returned.

        Raises:
            UserError: placeholders and images do not agree in number.
        """

    @abstractmethod
    def score(self, soft_prompt: Tensor, prompts: Sequence[str], candidates: Sequence[Sequence[str]]) -> list[Tensor]:
        """Log-likelihood (sum over tokens, natural log) of every candidate of every row, given images and prompt.

        Prompts have images as in `generate`, and are refused as there.
        """
