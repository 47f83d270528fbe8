"""The loader: a plain torch DataLoader over steps, whose item is this rank's finished batch of that step."""

import atexit
import os
import signal
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any
from weakref import WeakSet

import torch
from mmbridge_registry import Batch, Draft, MmbridgeError, Objective
from mmbridge_registry.language_model import LanguageTokenizer
from mmbridge_registry.objective import Prepared
from mmbridge_registry.tokens import TextTokenizer
from mmbridge_registry.vision_encoder import ImageTransform
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from mmbridge.data.order import Mixture
from mmbridge.data.samples import BadSample, read_sample
from mmbridge.features.cached import CachedFeatures

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class Loaded:
    """A finished batch, and the records that others replaced in it."""

    batch: Batch
    bad: list[BadSample]

    def pin_memory(self) -> "Loaded":
        """Copy the tensors to page-locked memory; the loader calls this when there is a GPU."""
        return replace(self, batch=_pinned(self.batch))


@dataclass(frozen=True, kw_only=True)
class StepBatches(TorchDataset):
    """This rank's batch of any step, as a function of the step's number alone.

    Global batch n is the positions n*batch_size to (n+1)*batch_size; rank r has the r-th of world_size equal slices.
    `batch_size` is global and must divide by `world_size`. Pickled to loader workers with everything in it.
    """

    mixture: Mixture
    transform: ImageTransform
    objectives: Mapping[str, Objective]
    bridge_tokenizer: TextTokenizer | None
    language_tokenizer: LanguageTokenizer | None
    batch_size: int
    rank: int = 0
    world_size: int = 1
    cached: Mapping[str, CachedFeatures] | None = None
    """Features by data set, in place of pixels."""

    def __getitem__(self, step: int) -> Loaded | MmbridgeError:
        """Prepare the batch of a step, or give the error that stops the run.

        The error is given, not raised: DataLoader would bury one that a worker raises under that worker's traceback.
        """
        try:
            return self.prepare(step)
        except MmbridgeError as error:
            return error

    def positions(self, step: int) -> range:
        """Give this rank's positions of a step."""
        rows = self.batch_size // self.world_size
        first = step * self.batch_size + self.rank * rows
        return range(first, first + rows)

    def prepare(self, step: int) -> Loaded:
        """Read this rank's samples of a step and let the objectives prepare what they need."""
        read = [read_sample(self.mixture, self.transform, position, self.cached) for position in self.positions(step)]
        samples = [sample for sample, _ in read]
        draft = Draft(samples, self.bridge_tokenizer, self.language_tokenizer)
        prepared: dict[str, Prepared] = {}
        for objective in self.objectives.values():
            prepared |= objective.prepare(draft)
        batch = Batch(
            pixels=_stacked([sample.pixels for sample in samples]),
            image_ids=torch.tensor([sample.image_id for sample in samples]),
            positions=torch.tensor([sample.position for sample in samples]),
            prepared=prepared,
            features=_stacked([sample.features for sample in samples]),
        )
        return Loaded(batch, [sample for _, bad in read for sample in bad])


def load(batches: StepBatches, first: int, last: int, workers: int) -> Iterator[tuple[Batch, list[BadSample]]]:
    """Give the batches of steps `first` (from 0) to `last` (exclusive), prepared by `workers` processes.

    Raises:
        UserError: a hundred records in a row are unreadable.
        MmbridgeError: a worker process died.
    """
    return ((loaded.batch, loaded.bad) for loaded in in_processes(batches, range(first, last), workers))


def in_processes(items: TorchDataset, numbers: Sequence[Any], workers: int) -> Iterator[Any]:
    """Give the items of these numbers, or whatever else they go by, in that order.

    They are made by `workers` processes; 0 makes them in this one.

    Raises:
        MmbridgeError: an item is one, or a worker process died.
    """
    loader = DataLoader(
        items,
        batch_size=None,
        sampler=numbers,  # type: ignore[arg-type]
        num_workers=workers,
        prefetch_factor=2 if workers else None,
        pin_memory=torch.cuda.is_initialized(),  # a run on the CPU of a machine with GPUs leaves them alone
        worker_init_fn=_start_worker if workers else None,
        generator=torch.Generator(),  # without one, every loader draws from the global generator
    )
    made = _made(loader)
    _running.add(made)
    return made


_running: WeakSet[Generator] = WeakSet()


@atexit.register
def _stop_workers() -> None:
    # Whoever still holds a loader then: multiprocessing would wait for ever for workers that nobody told to end.
    for made in list(_running):
        made.close()


def _made(loader: DataLoader) -> Generator[Any, None, None]:
    try:
        for item in _start(loader):
            if isinstance(item, MmbridgeError):
                raise item
            yield item
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker (pid"):
            raise
        do = "Lower run.workers, or give the machine more memory or a larger /dev/shm."
        raise MmbridgeError(f"a loader process died ({error}).", do=do) from error


def _start(loader: DataLoader) -> Iterator[Any]:
    # Workers are born with Ctrl-C and SIGTERM held back, and let them come when they have their own handlers.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        return iter(loader)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(_: int) -> None:
    # Ctrl-C and SIGTERM reach the whole process group; only the main process answers them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _outlive)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    torch.set_num_threads(1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


def _outlive(signum: int, _: object) -> None:
    # Only the first: a worker that hangs must not outlive the main process, which asks again before it ends.
    signal.signal(signum, signal.SIG_DFL)


def _stacked(rows: Sequence[Tensor | None]) -> Tensor | None:
    given = [row for row in rows if row is not None]
    return torch.stack(given) if given else None


def _pinned(item: Any) -> Any:
    if isinstance(item, Tensor):
        return item.pin_memory()
    if isinstance(item, Mapping):
        return {name: _pinned(value) for name, value in item.items()}
    if is_dataclass(item) and not isinstance(item, type):
        return replace(item, **{field.name: _pinned(getattr(item, field.name)) for field in fields(item)})
    return item
