"""Answers to a part of a call as bytes, in which they travel to other ranks and lie in the journal."""

import json
from collections.abc import Sequence
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

Answers = list[Any] | Tensor
"""One per row: texts or numbers, as JSON holds them, or the rows of a tensor."""


def to_bytes(answers: Answers) -> bytes:
    """Write answers down as safetensors: nothing that another rank or a file says is ever unpickled."""
    if isinstance(answers, Tensor):
        return save({"rows": answers.contiguous()})
    return save({"json": torch.frombuffer(bytearray(json.dumps(answers).encode()), dtype=torch.uint8)})


def from_bytes(data: bytes) -> Answers:
    """Read what `to_bytes` wrote."""
    tensors = load(data)
    return tensors["rows"] if "rows" in tensors else json.loads(tensors["json"].numpy().tobytes())


def joined(parts: Sequence[Answers], rows: Sequence[Sequence[int]]) -> Answers:
    """Put the answers of parts in the order of the `rows` that each of them answers."""
    order = torch.tensor([row for part in rows for row in part]).argsort()
    if all(isinstance(part, Tensor) for part in parts):
        return torch.cat(list(parts))[order]  # type: ignore[arg-type]
    flat = [answer for part in parts for answer in part]
    return [flat[place] for place in order.tolist()]
