"""Reading: images on their way to the vision encoder, decoded in threads while the model computes."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from itertools import islice
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from mmbridge_registry import UserError
from torch import Tensor

from mmbridge.data.images import open_image
from mmbridge.inference.listing import Images, Picture, Prepared, one_by_one
from mmbridge.model import BridgedModel

S = TypeVar("S")
T = TypeVar("T")

THREADS = min(8, os.cpu_count() or 1)
"""Threads that decode; Pillow lets go of Python's lock while it does."""


class Answered(NamedTuple, Generic[T]):
    """What came of one image of many: a value, or the reason why there is none."""

    image: Any
    value: T | None
    error: UserError | None


class Reading:
    """A model that images are put to, `batch_size` at a time; while it computes, the next batch is decoded."""

    def __init__(self, bridged: BridgedModel, batch_size: int = 32) -> None:
        self.bridged = bridged
        self.batch_size = batch_size

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Eval mode, no gradients, bfloat16 autocast on GPU; afterwards the model is in the mode it was in."""
        was_training, device = self.bridged.training, self.bridged.device
        self.bridged.eval()
        try:
            # no_grad and not inference_mode: a tensor that some part caches here may be used in training later.
            with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                yield
        finally:
            self.bridged.train(was_training)

    def batches(self, count: int) -> Iterator[slice]:
        """Cut `count` rows into batches."""
        return (slice(first, first + self.batch_size) for first in range(0, count, self.batch_size))

    def prepare(self, image: Picture) -> Prepared:
        """Decode and transform one image.

        Raises:
            UserError: it cannot be read.
        """
        return image if isinstance(image, Prepared) else Prepared(self._transform(open_image(image)))

    def each(self, images: Iterable[Picture], ask: Callable[[Tensor, slice], Sequence[T]]) -> Iterator[T]:
        """Ask something of the features [B,N,W] and rows of batch after batch; give one answer after the other.

        To be read to its end inside `answering`.
        """
        first = 0
        for batch in ahead(images, self.prepare, self.batch_size):
            pixels = torch.stack([prepared.result().pixels for _, prepared in batch])
            rows = slice(first, first := first + len(batch))
            yield from ask(self.bridged.vision_encoder(pixels.to(self.bridged.device)), rows)

    def ask(self, images: Iterable[Picture], ask: Callable[[Tensor, slice], Sequence[T]]) -> list[T]:
        """Ask something of the features [B,N,W] and rows of batch after batch, to the end; see `each`."""
        with self.answering():
            return list(self.each(images, ask))

    def stream(self, images: Images, ask: Callable[[list[Any]], Sequence[T]]) -> Iterator[Answered[T]]:
        """Ask something of any number of images, and give the answers in order, as each batch of them is done.

        `ask` takes a list of images and gives a list as long: `model.caption`, or a function that calls what it
        likes. No more than three batches are in memory; an image that cannot be read does not stop the others.

        Raises:
            UserError: `ask` gives more or fewer answers than it was given images, or raises it.
        """
        for batch in ahead(one_by_one(images), self.prepare, self.batch_size):
            outcomes = [_outcome(prepared) for _, prepared in batch]
            readable = [outcome for outcome in outcomes if isinstance(outcome, Prepared)]
            values = list(ask(readable)) if readable else []
            if len(values) != len(readable):
                what = f"the function that was streamed gave {len(values)} answers for {len(readable)} images."
                raise UserError(what, do="Give one answer per image.")
            given = iter(values)
            for (image, _), outcome in zip(batch, outcomes, strict=True):
                failed = isinstance(outcome, UserError)
                yield Answered(image, None, outcome) if failed else Answered(image, next(given), None)

    @cached_property
    def _transform(self) -> Callable[..., Tensor]:
        return self.bridged.vision_encoder.transform(train=False)


def _outcome(prepared: Future[Prepared]) -> Prepared | UserError:
    try:
        return prepared.result()
    except UserError as error:
        return error


def ahead(items: Iterable[S], work: Callable[[S], T], size: int) -> Iterator[list[tuple[S, Future[T]]]]:
    """Do work on items in threads, one batch ahead of the batch that is being read."""
    items = iter(items)
    with ThreadPoolExecutor(THREADS, "images") as pool:

        def begin() -> list[tuple[S, Future[T]]]:
            return [(item, pool.submit(work, item)) for item in islice(items, size)]

        try:
            batch = begin()
            while batch:
                following = begin()
                yield batch
                batch = following
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
