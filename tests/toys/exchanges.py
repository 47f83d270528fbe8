"""What ranks do to each other in the tests of the collectives."""

from typing import Any

import torch
from torch import Tensor

from mmbridge.collectives import Collectives

ROWS, ASKED, ROUNDS = 3, 4, 8


def everyones_rows(world_size: int) -> Tensor:
    """Rows [G,2] of all ranks."""
    return torch.arange(world_size * ROWS * 2.0, dtype=torch.float64).view(-1, 2).sin()


def everyones_indices(world_size: int) -> Tensor:
    """Rows that each rank asks for [rounds,world,n]; in round 0 all want the same row, in round 1 each its own."""
    draw = torch.Generator().manual_seed(0)
    index = torch.randint(world_size * ROWS, (ROUNDS, world_size, ASKED), generator=draw)
    index[0] = 1
    index[1] = torch.arange(world_size)[:, None] * ROWS
    return index


def weights(world_size: int, rows: int) -> Tensor:
    """What each rank's loss makes of what it got [world,rows,2]."""
    return torch.arange(world_size * rows * 2, dtype=torch.float64).view(world_size, rows, 2).cos()


def exchange_everything(collectives: Collectives) -> dict[str, Any]:
    """Use every collective once (the exchange several times) and give what came of it."""
    world, rank = collectives.world_size, collectives.rank
    own = everyones_rows(world)[rank * ROWS : (rank + 1) * ROWS].requires_grad_()
    gathered = collectives.gather(own)
    (gathered * weights(world, world * ROWS)[rank]).sum().backward()
    result = {
        "gathered": gathered.detach(),
        "gather gradient": own.grad,
        "constant": collectives.gather_constant(own),
        "flags": collectives.gather_constant(torch.tensor([rank == 0, True])),
        "sum": collectives.sum(torch.tensor(rank + 1.0)),
        "maximum": collectives.maximum(torch.tensor(5 - rank)),
        "tally": collectives.tally(rank, True, 2**40),
        "texts": collectives.gather_texts("ä" * 3 * rank),
        "fetched": [],
    }
    for index in everyones_indices(world)[:, rank]:
        own.grad = None
        fetched = collectives.exchange(own, index)
        (fetched * weights(world, ASKED)[rank]).sum().backward()
        result["fetched"].append((fetched.detach(), own.grad))
    return result
