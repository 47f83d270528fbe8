"""Quantising: weights of a frozen tower's linear layers in eight bits, by torchao."""

from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from mmbridge.settings import Bits

if TYPE_CHECKING:
    from mmbridge_registry.tower import Tower
    from torch import Tensor


def is_installed() -> bool:
    """Tell whether torchao is on this machine."""
    return find_spec("torchao") is not None


def quantize(tower: "Tower", bits: Bits) -> None:
    """Store the weights of the blocks' linear layers in `bits`; computed is in the dtype of what comes in.

    Outside of the blocks nothing changes: embeddings and the head of the vocabulary are read by row and by name.
    """
    from torchao.quantization import Float8Tensor, Float8WeightOnlyConfig, Int8Tensor, Int8WeightOnlyConfig, quantize_

    config, kind = {
        "int8": (Int8WeightOnlyConfig, Int8Tensor),
        "float8": (Float8WeightOnlyConfig, Float8Tensor),
    }[bits]
    _replace_linear(kind)
    for block in tower.blocks():
        quantize_(block, config())


@cache
def _replace_linear(kind: Any) -> None:
    """Let gradient through without keeping full weights, and let weights be given by name.

    timm's EVA says `weight=`, for which torchao 0.18 looks by position.
    """
    from torch.nn.functional import linear

    from mmbridge.quantized_linear import QuantizedLinear

    theirs = kind._TORCH_FN_TABLE[kind][linear]

    @kind.implements_torch_function(linear)
    def _(func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        rows, weight, bias = (*args, *(kwargs.get(name) for name in ("input", "weight", "bias")[len(args) :]))
        return QuantizedLinear.apply(lambda *given: theirs(func, types, given, {}), rows, weight, bias)


def is_plain(tensor: "Tensor") -> bool:
    """Tell whether a tensor holds its own numbers: neither shards nor quantised ones, which cannot be copied into."""
    from torch import Tensor

    return type(tensor.data) is Tensor
