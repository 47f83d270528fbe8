"""The engine: which rank this is, on which device, in which precision. torch's own DDP does the rest."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta

import torch
from mmbridge_registry import UserError
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from mmbridge.collectives import Collectives
from mmbridge.recipe import Run

TIMEOUT = timedelta(minutes=10)
"""A rank that is late for so long at a collective is taken for dead."""


@dataclass(frozen=True)
class Engine:
    """This process's place in the run."""

    device: torch.device
    collectives: Collectives
    autocast: torch.dtype | None
    """Dtype of autocast regions; None computes in float32."""

    @property
    def is_first(self) -> bool:
        """Rank 0 writes files and talks; the others compute."""
        return self.collectives.rank == 0

    def precision(self) -> AbstractContextManager[object]:
        """Autocast to the run's precision; softmax, norms and losses stay in float32 by torch's own lists."""
        return nullcontext() if self.autocast is None else torch.autocast(self.device.type, self.autocast)

    def distribute(self, model: nn.Module) -> nn.Module:
        """Wrap a model in DDP if there is more than one rank. What is frozen is neither broadcast nor reduced."""
        if self.collectives.world_size == 1:
            return model
        frozen = [name for name, tensor in model.named_parameters() if not tensor.requires_grad]
        frozen += [name for name, _ in model.named_buffers()]
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, frozen)
        ids = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=ids, broadcast_buffers=False, gradient_as_bucket_view=True)

    def wait_for_all(self) -> None:
        """Wait until every rank is here."""
        if self.collectives.world_size > 1:
            distributed.barrier()

    def seed(self, *numbers: int) -> None:
        """Seed torch's generators from integers: called before every step, so nothing of them needs saving."""
        mixed = 0
        for number in numbers:
            mixed = (mixed * 1_000_003 + number + 0x9E3779B9) % (1 << 63)
        torch.manual_seed(mixed)


@contextmanager
def engine(run: Run) -> Iterator[Engine]:
    """Start this rank from the environment that torchrun sets; one process alone needs no process group.

    Raises:
        UserError: CUDA is asked for and not there.
    """
    if run.device == "cuda" and not torch.cuda.is_available():
        raise UserError("there is no CUDA device", where="run.device", do="Use run.device=cpu, or auto.")
    on_gpu = run.device != "cpu" and torch.cuda.is_available()
    local_rank, world_size = int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    device = torch.device("cuda", local_rank) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(device)
    if run.threads:
        torch.set_num_threads(run.threads)
    rank = 0
    if world_size > 1:
        distributed.init_process_group("nccl" if on_gpu else "gloo", timeout=TIMEOUT)
        rank = distributed.get_rank()
    bfloat16 = run.precision == "bfloat16" or (run.precision == "auto" and on_gpu)
    try:
        yield Engine(device, Collectives(rank, world_size), torch.bfloat16 if bfloat16 else None)
    finally:
        if world_size > 1:
            distributed.destroy_process_group()
