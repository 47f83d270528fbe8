"""Samples: one position of the order, read, decoded, transformed and worded."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from mmbridge_registry import Record, Sample, UserError
from mmbridge_registry.vision_encoder import ImageTransform, needed_side

from mmbridge.data.images import decode
from mmbridge.data.order import Mixture, draw
from mmbridge.data.words import choose_words
from mmbridge.features.cached import CachedFeatures

MAX_IN_A_ROW = 100
"""So many unreadable records one after the other stop the run."""


@dataclass(frozen=True)
class BadSample:
    """A record that could not be used, and where in the run another took its place."""

    dataset: str
    name: str
    reason: str
    position: int


def read_sample(
    mixture: Mixture,
    transform: ImageTransform,
    position: int,
    cached: Mapping[str, CachedFeatures] | None = None,
) -> tuple[Sample, list[BadSample]]:
    """Read the sample at a position; an unreadable record is replaced by another of its data set, and reported.

    With `cached` features, by data set, no image is decoded; one that could not be read then is unreadable now.

    Raises:
        UserError: a hundred records in a row are unreadable; the message names the first few.
    """
    place = mixture.place(position)
    bad: list[BadSample] = []
    while len(bad) < MAX_IN_A_ROW:
        index = mixture.substitute(place, len(bad)) if bad else place.index
        name = f"record {index}"
        try:
            record = mixture.datasets[place.name].read(index)
            name = record.name or name
            if cached is None:
                found = decode(record.image, needed_side(transform))
            else:
                found = cached[place.name].find(index, record)
            words = choose_words(record, place.seed)
        except (OSError, ValueError) as error:
            bad.append(BadSample(place.name, name, str(error), position))
            continue
        pixels = features = None
        if isinstance(found, int):
            assert cached is not None
            features = cached[place.name].read(found, index, place.epoch)
        else:
            with seeded(place.seed):
                pixels = transform(found)
        image_id = image_number(place.name, record, index)
        told = words.text, words.question, words.answer
        return Sample(pixels, *told, image_id, position, place.seed, features), bad
    what = f"{len(bad)} records in a row cannot be used: {name_some(bad)}."
    raise UserError(what, where=f"data.{place.name}", do="Mend the data.")


def image_number(name: str, record: Record, index: int) -> int:
    """Number an image over all data sets of a run (63 bits): equal only for the same image of the same data set."""
    if record.image_id is None:
        return draw(name, "record", index)
    return draw(name, "image", int(record.image_id))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Let torch's default CPU generator draw from `seed` inside the block, and leave it as it was."""
    # Not torch.manual_seed: it would reseed the GPUs' generators as well.
    state = torch.default_generator.get_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.default_generator.set_state(state)


def name_some(bad: Sequence[BadSample], most: int = 3) -> str:
    """Name the first few bad samples and why they are bad, for a message."""
    named = "; ".join(f"{sample.dataset} {sample.name} ({sample.reason})" for sample in bad[:most])
    return f"{named}; ..." if len(bad) > most else named
