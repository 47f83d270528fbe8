"""Run a function on several processes that form one gloo process group."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import distributed, multiprocessing

from mmbridge.collectives import Collectives


def on_ranks(world_size: int, function: Callable[..., Any], *args: Any) -> list[Any]:
    """Give `function(collectives, *args)` of every rank; function must be importable from a module."""
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(_rank, (world_size, folder, function, args), nprocs=world_size)
        return [torch.load(Path(folder, str(rank)), weights_only=False) for rank in range(world_size)]


def _rank(rank: int, world_size: int, folder: str, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world_size)
    try:
        torch.save(function(Collectives(rank, world_size), *args), Path(folder, str(rank)))
        if distributed.is_initialized():  # a whole run has its own group, and takes this one's place
            distributed.barrier()
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()
