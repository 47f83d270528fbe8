"""The index: which image each record shows, found by reading every record once, and no picture."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from mmbridge_registry import Dataset
from torch.utils.data import Dataset as TorchDataset

from mmbridge.data.loader import in_processes
from mmbridge.data.order import draw
from mmbridge.disk import publish
from mmbridge.features.folder import IMAGES, RECORDS
from mmbridge.features.records import UNREADABLE, mark
from mmbridge.fingerprints import sha256

CHUNK = 4096
"""Records that a process reads at once."""
ALONE = -1
"""In place of an image's number: no other record shows it."""


class Scan(TorchDataset):
    """Chunks of records as [n,2] int64: a number for the image and the record's mark."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    @property
    def chunks(self) -> range:
        """Number the chunks."""
        return range(-(-len(self.dataset) // CHUNK))

    def __getitem__(self, chunk: int) -> np.ndarray:
        """Read a chunk."""
        records = range(chunk * CHUNK, min((chunk + 1) * CHUNK, len(self.dataset)))
        return np.array([self._look(index) for index in records], dtype=np.int64)

    def _look(self, index: int) -> tuple[int, int]:
        try:
            record = self.dataset.read(index)
        except (OSError, ValueError):
            return UNREADABLE, UNREADABLE
        number = ALONE if record.image_id is None else draw("image", int(record.image_id))
        return number, mark(record)


def build_index(
    dataset: Dataset, folder: Path, rank: int, workers: int, advance: Callable[[int], object]
) -> tuple[int, dict[str, str]]:
    """Write which image each record shows, and which record to read an image from; count images, sum up the files."""
    scan = Scan(dataset)
    records = np.empty((len(dataset), 2), dtype=np.int64)
    firsts: list[int] = []
    known: dict[int, int] = {}
    done = 0
    for chunk in in_processes(scan, scan.chunks, workers):
        for index, (number, sign) in enumerate(chunk.tolist(), start=done):
            row = -1 if number == UNREADABLE else known.get(number, len(firsts)) if number != ALONE else len(firsts)
            if row == len(firsts):
                firsts.append(index)
                known[number] = row
            records[index] = row, sign
        done += len(chunk)
        advance(len(chunk))
    images = np.array(firsts, dtype=np.int64)
    for name, array in ((RECORDS, records), (IMAGES, images)):
        publish(folder / name, rank, lambda partial, array=array: _save(partial, array))
    return len(images), {name: sha256(folder / name) for name in (RECORDS, IMAGES)}


def _save(file: Path, array: np.ndarray) -> None:
    with file.open("wb") as opened:  # numpy would add .npy to the name
        np.save(opened, array)
