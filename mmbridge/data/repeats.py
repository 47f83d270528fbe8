"""Repeats among records: equal images, equal records, captions that come again and again. 40 bytes per record."""

from array import array
from collections.abc import Iterator

import numpy as np

from mmbridge.data.defects import COMMON, COMMON_SHARE
from mmbridge.data.examining import Examined, digest


class Repeats:
    """Remembers digests of what was examined, in order, and finds those that are equal."""

    def __init__(self) -> None:
        self._indices, self._images, self._ids, self._records = (array("q") for _ in range(4))
        self._captions, self._captioned = array("q"), array("q")
        self._examined = 0

    def add(self, found: Examined) -> None:
        """Remember a record; spoilt ones count only as examined."""
        self._examined += 1
        if found.spoilt is not None or found.image is None or found.record is None:
            return
        self._indices.append(found.index)
        self._images.append(found.image)
        # Records without a number share their image with no other.
        named = f"record {found.index}" if found.image_id is None else f"image {found.image_id}"
        self._ids.append(digest(named.encode()))
        self._records.append(found.record)
        self._captions.extend(found.captions)
        self._captioned.extend([found.index] * len(found.captions))

    def images(self) -> Iterator[tuple[int, int]]:
        """Pair each record whose image stands under another name before with the first that has it."""
        return (
            (self._indices[later], self._indices[first])
            for later, first in _again(self._images)
            if self._ids[later] != self._ids[first]
        )

    def records(self) -> Iterator[tuple[int, int]]:
        """Pair each record that stands before, image and words, with the first that is equal."""
        return ((self._indices[later], self._indices[first]) for later, first in _again(self._records))

    def captions(self) -> list[tuple[int, int, int]]:
        """Give the captions that repeat very often, most often first: digest, a record that has it, how often."""
        if not self._captions:
            return []
        digests, first, counts = np.unique(_numbers(self._captions), return_index=True, return_counts=True)
        least = max(COMMON, COMMON_SHARE * self._examined)
        often = [place for place in np.argsort(-counts, kind="stable") if counts[place] >= least]
        return [(int(digests[place]), self._captioned[first[place]], int(counts[place])) for place in often]


def _again(keys: array) -> Iterator[tuple[int, int]]:
    """Pair each place whose key stands before with the first place that has it, in order of places."""
    if not keys:
        return iter(())
    numbers = _numbers(keys)
    order = np.argsort(numbers, kind="stable")
    sorted_keys = numbers[order]
    starts = np.r_[True, sorted_keys[1:] != sorted_keys[:-1]]
    first = order[np.maximum.accumulate(np.where(starts, np.arange(len(order)), 0))]
    pairs = sorted(zip(order[~starts].tolist(), first[~starts].tolist(), strict=True))
    return iter(pairs)


def _numbers(keys: array) -> np.ndarray:
    return np.frombuffer(keys, dtype=np.int64)
