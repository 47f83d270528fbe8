"""The engine: which rank this is, on which device, in which precision. torch's own DDP does the rest."""

# torch documents its stores, and the type checker does not find them.
# pyright: reportPrivateImportUsage=false

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import torch
from mmbridge_registry import UserError
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from mmbridge.collectives import Collectives
from mmbridge.recipe import Run

PATIENCE = timedelta(days=30)
"""How long ranks wait for rank 0 where it alone has work to do, such as an evaluation."""


@dataclass(frozen=True)
class Engine:
    """This process's place in the run."""

    device: torch.device
    collectives: Collectives
    autocast: torch.dtype | None
    """Dtype of autocast regions; None computes in float32."""
    store: distributed.Store | None = None
    """Where ranks tell each other what needs no collective; None if there is one rank."""
    patient: distributed.ProcessGroup | None = None
    """The group in which ranks wait for each other without a time limit."""

    @property
    def is_first(self) -> bool:
        """Rank 0 writes files and talks; the others compute."""
        return self.collectives.rank == 0

    def precision(self) -> AbstractContextManager[object]:
        """Autocast to the run's precision; on a GPU softmax, norms and losses stay in float32 by torch's own lists."""
        return nullcontext() if self.autocast is None else torch.autocast(self.device.type, self.autocast)

    def distribute(self, model: nn.Module) -> nn.Module:
        """Wrap a model in DDP if there is more than one rank. What is frozen is neither broadcast nor reduced."""
        if self.collectives.world_size == 1:
            return model
        frozen = [name for name, tensor in model.named_parameters() if not tensor.requires_grad]
        frozen += [name for name, _ in model.named_buffers()]
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, frozen)
        ids = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=ids, gradient_as_bucket_view=True)

    def wait_for_all(self) -> None:
        """Wait until every rank is here, however long it takes."""
        if self.collectives.world_size > 1:
            distributed.barrier(self.patient)

    def agree(self, number: int) -> int:
        """Give the largest number that a rank says: the same everywhere."""
        if self.collectives.world_size == 1:
            return number
        return int(self.collectives.maximum(torch.tensor(number, device=self.device)))

    def same_randomness(self) -> AbstractContextManager[object]:
        """Leave torch's random state as it is, whatever is drawn inside; other GPUs of this machine are not asked."""
        return torch.random.fork_rng([self.device] if self.device.type == "cuda" else [])

    def seed(self, *numbers: int) -> None:
        """Seed torch's generators from integers: called before every step, so nothing of them needs saving."""
        mixed = 0
        for number in numbers:
            mixed = (mixed * 1_000_003 + number + 0x9E3779B9) % (1 << 63)
        torch.manual_seed(mixed)


def alone(run: Run) -> Engine:
    """Give this process's device and precision, and no other ranks to speak to.

    Raises:
        UserError: CUDA is asked for and not there.
    """
    if run.device == "cuda" and not torch.cuda.is_available():
        raise UserError("there is no CUDA device", where="run.device", do="Use run.device=cpu, or auto.")
    on_gpu = run.device != "cpu" and torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(device)
    if run.threads:
        torch.set_num_threads(run.threads)
    # Emulated, bfloat16 is slower than float32 and no more exact.
    has_bfloat16 = on_gpu and torch.cuda.is_bf16_supported(including_emulation=False)
    bfloat16 = run.precision == "bfloat16" or (run.precision == "auto" and has_bfloat16)
    return Engine(device, Collectives(), torch.bfloat16 if bfloat16 else None)


@contextmanager
def same_sums(device: torch.device) -> Iterator[None]:
    """Add up in the same order every time on the CPU, however many threads there are.

    The gradient of picked rows (`rows[index]`) is else added up by threads as they come. GPUs are left as they are.
    """
    if device.type != "cpu":
        yield
        return
    told: Any = torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    fills = told.fill_uninitialized_memory
    try:
        torch.use_deterministic_algorithms(True, warn_only=True)
        told.fill_uninitialized_memory = False  # nobody reads what was not written
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        told.fill_uninitialized_memory = fills


@contextmanager
def engine(run: Run) -> Iterator[Engine]:
    """Start this rank from the environment that torchrun sets; one process alone needs no process group.

    Raises:
        UserError: CUDA is asked for and not there.
    """
    here, world_size = alone(run), int(os.environ.get("WORLD_SIZE", "1"))
    rank, store, patient = 0, None, None
    if world_size > 1:
        limit = timedelta(seconds=run.rank_timeout)
        store, rank, world_size = next(distributed.rendezvous("env://", timeout=limit))
        backend = "nccl" if here.device.type == "cuda" else "gloo"
        distributed.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=limit)
        patient = distributed.new_group(backend="gloo", timeout=PATIENCE)
    failed = True
    try:
        with same_sums(here.device):
            yield replace(here, collectives=Collectives(rank, world_size), store=store, patient=patient)
        failed = False
    finally:
        # Where NCCL ends its group it waits for all ranks. One that fails alone has to say so first, and its end ends
        # the others.
        if world_size > 1 and not (failed and here.device.type == "cuda"):
            distributed.destroy_process_group()
