"""Padded token ids with their mask."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Tokens:
    """Token ids [B,T] int64 and mask [B,T] bool (True = a real token)."""

    ids: Tensor
    mask: Tensor

    def __len__(self) -> int:
        return self.ids.shape[0]

    def select(self, index: Tensor | slice) -> "Tokens":
        """Pick rows."""
        return Tokens(self.ids[index], self.mask[index])

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Tokens":
        """Copy to a device."""
        return Tokens(self.ids.to(device, non_blocking=non_blocking), self.mask.to(device, non_blocking=non_blocking))

    def widen(self, length: int) -> "Tokens":
        """Pad on the right to `length` columns; masked-out ids are 0, which no pass ever reads."""
        extra = length - self.ids.shape[1]
        return Tokens(F.pad(self.ids, (0, extra)), F.pad(self.mask, (0, extra))) if extra > 0 else self

    @staticmethod
    def cat(parts: "Sequence[Tokens]") -> "Tokens":
        """Join rows of batches of different lengths."""
        length = max(part.ids.shape[1] for part in parts)
        wide = [part.widen(length) for part in parts]
        return Tokens(torch.cat([part.ids for part in wide]), torch.cat([part.mask for part in wide]))


class TextTokenizer(Protocol):
    """Turns texts into tokens, padded to the longest. Picklable: it runs in loader workers."""

    def __call__(self, texts: Sequence[str]) -> Tokens: ...
