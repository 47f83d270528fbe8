"""The conformance check of datasets."""

import pickle
from pathlib import Path

from mmbridge_registry.dataset import Dataset
from mmbridge_registry.record import Record
from mmbridge_registry.testing.promises import expect, expect_pickles

LIGHT = 16 * 2**20
"""Bytes that a dataset may weigh on its way to each loader worker."""


def check_dataset(dataset: Dataset, samples: int = 16) -> None:
    """Check what the framework relies on in a dataset, on its first and last records.

    Raises:
        AssertionError: names the promise that is broken.
    """
    expect(isinstance(dataset, Dataset), "a dataset derives from Dataset")
    size = len(dataset)
    expect(size >= 1, "a dataset has at least one record")
    copy = expect_pickles(dataset, "a dataset is picklable: it travels to loader workers")
    weight = len(pickle.dumps(dataset))
    expect(weight <= LIGHT, f"a dataset is cheap to copy: it leaves its table on disk ({weight / 2**20:.0f} MiB)")
    for index in sorted({*range(min(size, samples)), *range(max(0, size - samples), size)}):
        record = dataset.read(index)
        _check_record(record, index)
        expect(
            _same(record, copy.read(index)), f"the same index always gives the same record, in any process ({index})"
        )
    _check_ends(dataset, size)
    _check_blocks(dataset, size)


def _check_record(record: Record, index: int) -> None:
    expect(isinstance(record, Record), f"read gives a Record, not {type(record).__name__} (record {index})")
    image = record.image
    readable = image.is_file() if isinstance(image, Path) else len(image) > 0 if isinstance(image, bytes) else True
    expect(readable, f"the image is there: its file exists, its bytes are not empty (record {index})")
    known = isinstance(image, bytes | Path) or hasattr(image, "convert")
    expect(known, f"an image is bytes, a Path or a PIL image, not {type(image).__name__} (record {index})")
    for name in ("texts", "answers"):
        values = getattr(record, name)
        fits = isinstance(values, tuple) and all(isinstance(value, str) for value in values)
        expect(fits, f"{name} is a tuple of strings (record {index})")
    expect(record.question is not None or not record.answers, f"answers belong to a question (record {index})")
    expect(record.image_id is None or isinstance(record.image_id, int), f"image_id is an int or None (record {index})")


def _same(one: Record, other: Record) -> bool:
    def told(record: Record) -> tuple[object, ...]:
        return record.texts, record.question, record.answers, record.image_id, record.name, _pixels(record)

    return told(one) == told(other)


def _pixels(record: Record) -> object:
    image = record.image
    return image if isinstance(image, bytes | Path) else (image.size, image.mode, image.tobytes())


def _check_ends(dataset: Dataset, size: int) -> None:
    for index in (size, -1):
        try:
            dataset[index]
        except IndexError:
            continue
        raise AssertionError(f"dataset[{index}] of {size} records is an IndexError")


def _check_blocks(dataset: Dataset, size: int) -> None:
    lengths = dataset.blocks
    if lengths is not None:
        whole = all(isinstance(length, int) and length >= 0 for length in lengths)
        expect(whole and sum(lengths) == size, f"blocks are whole numbers from 0 that add up to len, {size}")
