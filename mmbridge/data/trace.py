"""Tracing: which records stand in the batch of a step, and what is said of them. No model is built."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from PIL import Image

from mmbridge.data.order import Mixture
from mmbridge.data.samples import BadSample, read_sample


@dataclass(frozen=True)
class Traced:
    """One row of a global batch."""

    row: int
    position: int
    """Samples of the stage before it."""
    dataset: str
    index: int
    """The record's index in its data set; that of the substitute, if one took its place."""
    name: str
    text: str
    """The caption that was drawn, cleaned."""
    question: str | None
    answer: str | None
    replaced: Sequence[BadSample]
    """Records that should have stood here and could not be used."""


def trace(mixture: Mixture, batch_size: int, step: int, rows: range) -> Iterator[Traced]:
    """Read rows of the global batch of a step (from 1, as in metrics.jsonl) the way training reads them.

    Raises:
        UserError: a hundred records in a row are unreadable.
    """
    for row in rows:
        position = (step - 1) * batch_size + row
        sample, bad = read_sample(mixture, _nothing, position)
        place = mixture.place(position)
        index = mixture.substitute(place, len(bad)) if bad else place.index
        name = mixture.datasets[place.name].read(index).name or f"record {index}"
        words = sample.text, sample.question, sample.answer
        yield Traced(row, position, place.name, index, name, *words, bad)


def _nothing(_: Image.Image) -> torch.Tensor:
    return torch.empty(0)
