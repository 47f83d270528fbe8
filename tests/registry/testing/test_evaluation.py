"""The check of evaluations: a good one passes, every broken promise is named."""

from types import SimpleNamespace
from typing import Any

import pytest
from mmbridge_registry import Dataset, Evaluated, Evaluation, Metric, Record
from mmbridge_registry.testing import check_evaluation


class Three(Dataset):
    """Three records."""

    def __len__(self) -> int:
        return 3

    def read(self, index: int) -> Record:
        return Record(b"image", name=str(index))


class Counting(Evaluation):
    """A good evaluation, or one that gives what it is told."""

    def __init__(self, *results: Any) -> None:
        self.results = list(results)

    def evaluate(self, model: Any, dataset: Dataset) -> Any:
        found = Evaluated({"size": Metric(len(dataset), n=len(dataset))}, protocol="counts all records, no prompt")
        return self.results.pop(0) if self.results else found


class TestEvaluation:
    protocol = "counts all records, no prompt"

    def test_a_good_one_passes(self) -> None:
        check_evaluation(Counting(), SimpleNamespace(), Three())  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("promise", "result"),
        [
            ("gives an Evaluated", {"size": 3}),
            ("measures something", Evaluated({}, protocol)),
            ("protocol is a sentence", Evaluated({"size": Metric(3, 3)}, "")),
            ("'size' is finite", Evaluated({"size": Metric(float("nan"), 3)}, protocol)),
            ("how many items", Evaluated({"size": Metric(3, 0)}, protocol)),
            ("chance of 'size'", Evaluated({"size": Metric(3, 3, chance=float("nan"))}, protocol)),
            ("always measures the same", Evaluated({"size": Metric(4, 3)}, protocol)),
        ],
    )
    def test_broken_promises(self, promise: str, result: Any) -> None:
        with pytest.raises(AssertionError, match=promise):
            check_evaluation(Counting(result), SimpleNamespace(), Three())  # type: ignore[arg-type]
