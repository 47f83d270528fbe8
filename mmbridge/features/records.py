"""Records and their images: two numbers per record on disk, its image's row and a mark of its own."""

from functools import lru_cache
from pathlib import Path

import numpy as np
from mmbridge_registry import Record

from mmbridge.data.order import draw

UNREADABLE = -2
"""In place of a mark: the record cannot be read."""


def mark(record: Record) -> int:
    """Give a number (63 bits) that tells whether a record is still the one that was indexed."""
    return draw("record", record.name, str(record.image_id))


@lru_cache(maxsize=64)
def open_records(file: Path) -> np.ndarray:
    """Open the table [records,2] of rows and marks where it lies."""
    return np.load(file, mmap_mode="r")
