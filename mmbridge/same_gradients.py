"""A check for those who write objectives or engines: after backward, every rank must have the same gradients."""

from collections.abc import Mapping

import torch
from mmbridge_registry import MmbridgeError
from torch import Tensor, nn

from mmbridge.collectives import Collectives


def check_gradients(trained: Mapping[str, nn.Parameter], collectives: Collectives) -> None:
    """Compare a checksum of every parameter's gradient over the ranks.

    Ranks whose gradients were not averaged go on as if nothing were wrong, each with a model of its own.

    Raises:
        MmbridgeError: they differ; the message names the first parameter.
    """
    own = torch.stack([_checksum(parameter) for parameter in trained.values()])
    everyone = collectives.gather_constant(own[None])
    different = (everyone != everyone[:1]).any(0).any(-1).tolist()
    names = [name for name, differs in zip(trained, different, strict=True) if differs]
    if names:
        raise MmbridgeError(
            f"the ranks have different gradients of {len(names)} of {len(trained)} trained tensors ({names[0]}, ...).",
            where="run.check_gradients",
            do="An objective called `backward` itself, or a loss was computed around the wrapped model's forward.",
        )


def _checksum(parameter: nn.Parameter) -> Tensor:
    """Sum and weighted sum of a gradient's bits [2] int64; another order or another sign changes them."""
    if parameter.grad is None:
        return torch.full((2,), -1, dtype=torch.int64, device=parameter.device)
    bits = parameter.grad.detach().contiguous().flatten().view(torch.uint8).long()
    weights = torch.arange(1, len(bits) + 1, device=bits.device) % 65_521
    return torch.stack([bits.sum(), (bits * weights).sum()])
