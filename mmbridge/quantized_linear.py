"""Linear layers with quantised weights: gradient flows through them without keeping the weights in full."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function


class QuantizedLinear(Function):
    """What `compute(rows, weight, bias)` gives; the way back makes the weights full once more, one layer at a time.

    Left to autograd, the full weights of all layers are kept from the forward pass until the backward pass reaches
    them: a quantised tower would then take more memory than one that is not.
    """

    @staticmethod
    def forward(ctx: Any, compute: Callable[..., Tensor], rows: Tensor, weight: Any, bias: Tensor | None) -> Tensor:
        device = rows.device.type
        ctx.weight, ctx.rows_dtype = weight, rows.dtype
        ctx.dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else rows.dtype
        return compute(rows, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor, None, None]:
        (gradient,) = gradients
        full = ctx.weight.dequantize().to(ctx.dtype)
        return None, (gradient.to(ctx.dtype) @ full).to(ctx.rows_dtype), None, None
