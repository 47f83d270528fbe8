"""Where queries look: the weights of cross-attention, taken while queries read images."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from mmbridge_qformer.attention import Attention
from mmbridge_qformer.layer import QFormerLayer


def looking(layers: Iterable[QFormerLayer], read: Callable[[], object]) -> Tensor:
    """Weights [L,B,Q,N] of the L layers that look at images while `read` takes queries through them once, averaged
    over heads.

    The layers compute as ever, by a kernel that tells no weights; these are made beside it, of what each is given.
    """
    seen: list[Tensor] = []

    def watch(attention: Attention, given: tuple[Any, ...]) -> None:
        seen.append(attention.weights(*given).mean(1))

    looks = [layer.cross_attention for layer in layers if layer.cross_attention is not None]
    hooks = [attention.register_forward_pre_hook(watch) for attention in looks]
    try:
        read()
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack(seen)
