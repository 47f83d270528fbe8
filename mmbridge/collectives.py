"""Collectives: the one place where ranks exchange tensors. A world of one needs no process group and copies nothing.

Every rank calls the same methods in the same order with the same shapes, whatever its batch holds.
"""

from typing import Any

import torch
from torch import Tensor, distributed
from torch.autograd import Function


class Collectives:
    """This rank's place among the ranks of the default process group, and what they can do together."""

    def __init__(self, rank: int = 0, world_size: int = 1) -> None:
        self.rank = rank
        self.world_size = world_size

    def gather(self, rows: Tensor) -> Tensor:
        """Stack rows [B,...] of all ranks to [G,...], rank by rank.

        Gradient flows through: a row's gradient is the sum of what all ranks' losses send back to it.
        """
        return rows if self.world_size == 1 else _Gather.apply(rows, self.rank, self.world_size)

    @torch.no_grad()
    def gather_constant(self, rows: Tensor) -> Tensor:
        """Stack rows [B,...] of all ranks to [G,...] without gradient, own rows included."""
        return rows.detach() if self.world_size == 1 else _stack(rows, self.world_size)

    @torch.no_grad()
    def sum(self, value: Tensor) -> Tensor:
        """Add up a tensor over the ranks, without gradient."""
        return self._reduce(value, distributed.ReduceOp.SUM)

    @torch.no_grad()
    def maximum(self, value: Tensor) -> Tensor:
        """Take the elementwise maximum over the ranks, without gradient."""
        return self._reduce(value, distributed.ReduceOp.MAX)

    def tally(self, *counts: int) -> list[int]:
        """Add up whole numbers over the ranks."""
        if self.world_size == 1:
            return list(counts)
        total = torch.tensor(counts, device=_device())
        distributed.all_reduce(total)
        return total.tolist()

    def gather_texts(self, text: str) -> list[str]:
        """Give the texts of all ranks, rank by rank. Texts, because nothing that another rank sends is unpickled."""
        return [sent.decode() for sent in self.gather_bytes(text.encode())]

    def gather_bytes(self, sent: bytes) -> list[bytes]:
        """Give what all ranks send, rank by rank; each may send as much as it likes."""
        if self.world_size == 1:
            return [sent]
        own = torch.tensor(bytearray(sent), dtype=torch.uint8, device=_device())
        lengths = _stack(torch.tensor([own.numel()], device=own.device), self.world_size).tolist()
        padded = own.new_zeros(1, max(*lengths, 1))
        padded[0, : own.numel()] = own
        rows = _stack(padded, self.world_size).cpu()
        return [row[:length].numpy().tobytes() for row, length in zip(rows, lengths, strict=True)]

    def exchange(self, rows: Tensor, index: Tensor) -> Tensor:
        """Fetch global rows `index` [n] from the ranks that hold them: rows [B,...] to [n,...], with gradient.

        Only these rows travel. Global row g is row g % B of rank g // B; every rank asks for n rows of its own choice.
        """
        if self.world_size == 1:
            return rows[index]
        local = rows.shape[0]
        wanted = self.gather_constant(index[None])
        owner = wanted // local
        # Split sizes must be known to the host: the only point of a step that waits for the device.
        asked = torch.stack([(owner == rank).sum(1) for rank in range(self.world_size)]).tolist()
        mine = wanted[owner == self.rank] - self.rank * local
        send, receive = asked[self.rank], [row[self.rank] for row in asked]
        received = _AllToAll.apply(rows[mine], send, receive)
        # What arrives is sorted by owner; the inverse of that sort brings it into the order asked for.
        return received[owner[self.rank].argsort(stable=True).argsort()]

    def _reduce(self, value: Tensor, operation: Any) -> Tensor:
        if self.world_size == 1:
            return value.detach()
        total = value.detach().clone()
        distributed.all_reduce(total, operation)
        return total


def _device() -> torch.device:
    """Give the device whose tensors the default process group carries."""
    return torch.device("cuda" if distributed.get_backend() == "nccl" else "cpu")


def _stack(rows: Tensor, world_size: int) -> Tensor:
    stacked = rows.new_empty(world_size * rows.shape[0], *rows.shape[1:])
    distributed.all_gather_into_tensor(stacked, rows.contiguous())
    return stacked


class _Gather(Function):
    """All-gather; its transpose adds up what every rank sends back and keeps the own rows."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, rank: int, world_size: int) -> Tensor:
        ctx.rows = rows.shape[0]
        return _stack(rows, world_size)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        own = gradient.new_empty(ctx.rows, *gradient.shape[1:])
        distributed.reduce_scatter_tensor(own, gradient.contiguous())
        return own, None, None


class _AllToAll(Function):
    """Send `send[r]` rows to each rank r and receive `receive[r]`; the transpose goes the other way."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, send: list[int], receive: list[int]) -> Tensor:
        ctx.splits = send, receive
        received = rows.new_empty(sum(receive), *rows.shape[1:])
        distributed.all_to_all_single(received, rows.contiguous(), receive, send)
        return received

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        send, receive = ctx.splits
        returned = gradient.new_empty(sum(send), *gradient.shape[1:])
        distributed.all_to_all_single(returned, gradient.contiguous(), send, receive)
        return returned, None, None
