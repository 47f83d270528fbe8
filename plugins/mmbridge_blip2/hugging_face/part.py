"""What was read of one part of a folder."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import torch
from mmbridge_registry import Published
from torch import Tensor


@dataclass(frozen=True)
class Part:
    """One part: its section of a config, its tensors, and what became of their names."""

    section: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    renamed: Mapping[str, str]
    notes: tuple[str, ...] = ()
    published: Published | None = None
    """The tower, if it is one."""


@dataclass
class Sorted:
    """Tensors on their way into a part, each with the name that it had."""

    title: str
    tensors: dict[str, Tensor] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, ours: str, tensor: Tensor) -> None:
        """Take one tensor under the name of the part's published layout."""
        self.tensors[ours] = tensor
        self.renamed[name] = f"{self.title}.{ours}"


def dtype_of(tensors: Mapping[str, Tensor]) -> str:
    """Name the narrowest type that holds every number of a part exactly."""
    return name_of(reduce(torch.promote_types, {tensor.dtype for tensor in tensors.values()}))


def name_of(dtype: torch.dtype) -> str:
    """Give the name of a type as configs write it."""
    return str(dtype).removeprefix("torch.")
