"""The check of datasets: a good one passes, every broken promise is named."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mmbridge_registry import Dataset, Record
from mmbridge_registry.testing import check_dataset


class Numbers(Dataset):
    """A good dataset."""

    def __init__(self) -> None:
        self.records = [Record(b"image", ("one", "two"), "how many?", ("2",), image_id=i) for i in range(3)]

    def __len__(self) -> int:
        return len(self.records)

    def read(self, index: int) -> Record:
        return self.records[index]


class TestDataset:
    def test_a_good_one_passes(self) -> None:
        check_dataset(Numbers())

    @pytest.mark.parametrize(
        ("promise", "change"),
        [
            ("answers belong", {"question": None}),
            ("tuple of strings", {"texts": "a caption"}),
            ("tuple of strings", {"answers": (2,)}),
            ("the image is there", {"image": Path("nowhere.png")}),
            ("the image is there", {"image": b""}),
            ("bytes, a Path or a PIL image", {"image": 3}),
            ("image_id is an int", {"image_id": "coco_1"}),
        ],
    )
    def test_broken_records(self, promise: str, change: dict[str, Any]) -> None:
        dataset = Numbers()
        dataset.records[2] = replace(dataset.records[2], **change)
        with pytest.raises(AssertionError, match=promise):
            check_dataset(dataset)

    @pytest.mark.parametrize(
        ("promise", "changes"),
        [
            ("at least one record", {"records": []}),
            ("picklable", {"note": lambda: None}),
            ("cheap to copy", {"note": bytes(17 * 2**20)}),
        ],
    )
    def test_broken_datasets(self, promise: str, changes: dict[str, Any]) -> None:
        dataset = Numbers()
        vars(dataset).update(changes)
        with pytest.raises(AssertionError, match=promise):
            check_dataset(dataset)

    @pytest.mark.parametrize(
        ("promise", "method", "value"),
        [
            ("same index always", "read", lambda self, index: Record(b"x", (str(random.random()),))),
            (r"dataset\[3\] of 3", "__getitem__", lambda self, index: self.records[index % 3]),
            (r"dataset\[-1\] of 3", "__getitem__", lambda self, index: self.records[index]),
        ],
    )
    def test_broken_reading(self, promise: str, method: str, value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Numbers, method, value)
        with pytest.raises(AssertionError, match=promise):
            check_dataset(Numbers())
