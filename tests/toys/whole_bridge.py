"""The toy text bridge made whole: a tokenizer, features of any dtype, exact reach."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from mmbridge_registry import Tokens
from torch import Tensor, nn
from toys.text_bridge import VOCABULARY, ToyBridge


class Letters:
    """A tokenizer of letters: [CLS] first, [SEP] last, padded on the right."""

    def __call__(self, texts: Sequence[str]) -> Tokens:
        rows = [[1, *(3 + ord(letter) % (VOCABULARY - 3) for letter in text), 2] for text in texts]
        longest = max(map(len, rows))
        mask = torch.tensor([[place < len(row) for place in range(longest)] for row in rows])
        return Tokens(torch.tensor([row + [0] * (longest - len(row)) for row in rows]), mask)


class WholeBridge(ToyBridge):
    """The toy bridge, complete: a tokenizer, features of any dtype, and exact reach."""

    tokenizer = Letters()
    reach = {
        "image": ("learned", "look"),
        "contrast": ("learned", "look", "words", "image_head", "text_head", "temp"),
        "match": ("learned", "look", "words", "match_head"),
        "decode": ("learned", "look", "words", "start"),
    }

    def encode_image(self, features: Tensor) -> Any:
        return super().encode_image(features.float())

    def parameters_for(self, passes: frozenset[Any]) -> Iterator[tuple[str, nn.Parameter]]:
        owners = {owner for each in passes for owner in self.reach[each]}
        return ((name, one) for name, one in self.named_parameters() if name.partition(".")[0] in owners)
