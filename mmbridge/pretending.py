"""What a rehearsal pretends: that there are other ranks, that every label counts, that a GPU's kernels compute."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from mmbridge.collectives import Collectives

aten = torch.ops.aten

FLOAT32 = {F.layer_norm, F.group_norm, F.softmax, F.log_softmax, F.cross_entropy, F.nll_loss, F.normalize,
           torch.softmax, torch.log_softmax, Tensor.softmax, Tensor.log_softmax, torch.norm, torch.cumsum}  # fmt: skip
"""What a GPU's autocast computes in float32, and the CPU's, under which a rehearsal runs, does not."""


class PretendedRanks(Collectives):
    """As many ranks as one likes, all of which have what this one has."""

    def __init__(self, world_size: int) -> None:
        super().__init__(0, world_size)

    def gather(self, rows: Tensor) -> Tensor:
        """Give the rows once for each rank, with gradient."""
        return rows if self.world_size == 1 else torch.cat([rows] * self.world_size)

    def gather_constant(self, rows: Tensor) -> Tensor:
        """Give the rows once for each rank."""
        return self.gather(rows.detach())

    def exchange(self, rows: Tensor, index: Tensor) -> Tensor:
        """Give as many rows as were asked for."""
        return rows[index]

    def _reduce(self, value: Tensor, operation: Any) -> Tensor:
        return value.detach().clone()


class EveryLabel(TorchDispatchMode):
    """Picks every place that a mask might pick: how many it does pick is in numbers that are not there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is aten.nonzero.default:
            return args[0].new_zeros(args[0].numel(), args[0].ndim, dtype=torch.int64)
        if func in (aten.index.Tensor, aten._unsafe_index.Tensor):
            args = (args[0], [place for index in args[1] for place in _places(index)], *args[2:])
        return func(*args, **(kwargs or {}))


def _places(index: Tensor | None) -> list[Tensor | None]:
    if index is None or index.dtype != torch.bool:
        return [index]
    return [index.new_zeros(index.numel(), dtype=torch.int64)] * index.ndim


class Kernels(TorchFunctionMode):
    """Computes as a GPU does (or the CPU, which `on_gpu` tells): attention keeps no matrix, norms are float32."""

    def __init__(self, on_gpu: bool) -> None:
        super().__init__()
        self.on_gpu = on_gpu

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention and (self.on_gpu or not kwargs.get("dropout_p")):
            return _attention(*args, **kwargs)
        if self.on_gpu and func in FLOAT32 and torch.is_autocast_enabled("cpu"):
            args = [one.float() if isinstance(one, Tensor) and one.dtype == torch.bfloat16 else one for one in args]
        return func(*args, **kwargs)


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    # Fused kernels keep the output and a number per row; dropout costs them nothing, and this one does not know it.
    if enable_gqa:
        groups = query.shape[-3] // key.shape[-3]
        key, value = key.repeat_interleave(groups, -3), value.repeat_interleave(groups, -3)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        attn_mask = torch.zeros_like(attn_mask, dtype=query.dtype)
    fused = aten._scaled_dot_product_flash_attention_for_cpu
    return fused(query, key, value, 0.0, is_causal, attn_mask=attn_mask, scale=scale)[0]
