"""The check of datasets that lie on disk in blocks."""

from collections.abc import Sequence
from typing import Any

import pytest
from mmbridge_registry import Dataset, Record
from mmbridge_registry.testing import check_dataset


class Blocks(Dataset):
    def __init__(self, lengths: Any) -> None:
        self.lengths = lengths

    def __len__(self) -> int:
        return 5

    @property
    def blocks(self) -> Sequence[int]:
        return self.lengths

    def read(self, index: int) -> Record:
        return Record(b"image", (str(index),))


@pytest.mark.parametrize("lengths", [[5], [2, 3], (0, 5, 0), None])
def test_blocks_that_add_up(lengths: Sequence[int] | None) -> None:
    check_dataset(Blocks(lengths))


@pytest.mark.parametrize("lengths", [[], [4], [6, -1], [2.5, 2.5]])
def test_blocks_that_do_not(lengths: Sequence[int]) -> None:
    with pytest.raises(AssertionError, match="blocks are whole numbers from 0 that add up to len, 5"):
        check_dataset(Blocks(lengths))
