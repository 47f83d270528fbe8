"""Run a function on several processes that form one gloo process group.

A fork server has imported everything once: processes start within a second.
"""

import os
import tempfile
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.multiprocessing.spawn import start_processes

from mmbridge.collectives import Collectives

SERVER = get_context("forkserver")
SERVER.set_forkserver_preload(["mmbridge.cli", "mmbridge.runner", "toys.ranks", "transformers", "open_clip"])


def on_ranks(world_size: int, function: Callable[..., Any], *args: Any) -> list[Any]:
    """Give `function(collectives, *args)` of every rank; function must be importable from a module."""
    with tempfile.TemporaryDirectory() as folder:
        given = (dict(os.environ), world_size, folder, function, args)
        start_processes(_rank, given, nprocs=world_size, start_method="forkserver")
        return [torch.load(Path(folder, str(rank)), weights_only=False) for rank in range(world_size)]


def _rank(rank: int, environment: Any, world_size: int, folder: str, function: Callable[..., Any], args: Any) -> None:
    os.environ.update(environment)  # the fork server's is that of the test which came first
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
