import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmbridge_image_text import ImageTextOptions, build_image_text
from mmbridge_registry import Dataset, MmbridgeError, Record, UserError
from PIL import Image
from toys import spoilt_folder
from toys.spoilt_folder import EXPECTED, RECORDS, SPOILT, picture

from mmbridge.data.defects import DEFECTS
from mmbridge.data.diagnosis import Diagnosis, Lengths
from mmbridge.data.doctor import Checkup, forecast
from mmbridge.data.examining import Examined, Limits, examine
from mmbridge.data.order import Mixture
from mmbridge.data.repeats import Repeats
from mmbridge.data.samples import read_sample

LIMITS = Limits(side=48, words=32)


@pytest.fixture
def spoilt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """The folder with one record of every defect."""
    monkeypatch.setenv("MMBRIDGE_CACHE", str(tmp_path / "cache"))
    annotations = spoilt_folder.spoilt_folder(tmp_path)
    return build_image_text(ImageTextOptions(annotations=annotations, images=tmp_path / "photos"))


@dataclass(frozen=True)
class Listed(Dataset):
    """Records that are given."""

    records: Sequence[Record]

    def __len__(self) -> int:
        return len(self.records)

    def read(self, index: int) -> Record:
        return self.records[index]


class One(Listed):
    """A single record of another data set, under the same name."""

    def __init__(self, dataset: Dataset, index: int) -> None:
        self.dataset, self.index = dataset, index

    def __len__(self) -> int:
        return 1

    def read(self, index: int) -> Record:
        return self.dataset.read(self.index)


def checkup(sample: int | None = None, workers: int = 0, seed: int = 0, keep: int | None = None) -> Checkup:
    return Checkup(sample, workers, seed, LIMITS, keep)


@pytest.mark.parametrize("workers", [0, 2])
def test_one_of_every_defect_is_found_and_nothing_else(spoilt: Dataset, workers: int) -> None:
    found = checkup(workers=workers).diagnose("data.mine", spoilt)
    assert {kind: [case.name for case in finding.cases] for kind, finding in found.findings.items()} == EXPECTED
    assert set(EXPECTED) == set(DEFECTS), "the folder must have one of every kind"
    counts = {kind: finding.count for kind, finding in found.findings.items()}
    assert counts == {kind: len(names) for kind, names in EXPECTED.items()} | {"common_caption": 12}
    assert (found.records, found.checked) == (RECORDS, RECORDS)
    assert found.spoilt == found.spoilt_names == SPOILT == found.spoilt_images + 4
    assert found.lengths == Lengths(captions=77, shortest=3, median=3, longest=60)


def test_what_is_unusable_is_what_training_replaces_for_the_same_reason(spoilt: Dataset) -> None:
    unusable = 0
    for index in range(len(spoilt)):
        found = examine(spoilt, index, LIMITS)
        mixture = Mixture({"mine": One(spoilt, index)}, {"mine": 1}, seed=0)
        try:
            _, bad = read_sample(mixture, lambda _: torch.empty(0), 0)
        except UserError as error:
            assert found.spoilt is not None, index
            assert found.spoilt.detail in str(error)
            unusable += 1
        else:
            assert (found.spoilt, bad) == (None, []), index
    assert unusable == SPOILT


def test_details_say_how_much(spoilt: Dataset) -> None:
    found = checkup().diagnose("data.mine", spoilt).findings
    said = {kind: finding.cases[0].detail for kind, finding in found.items()}
    assert said["tiny"] == "40 x 20" and said["long_caption"] == "60 words" and said["common_caption"] == "12 times"
    assert said["wrong_extension"] == "it is PNG" and said["duplicate_image"] == "as 1.jpg"
    assert "/elsewhere/x.jpg" in said["outside"]


def test_only_the_first_cases_are_kept_but_all_are_counted() -> None:
    dataset = Listed([Record(b"", (f"a {n}",), name=str(n)) for n in range(20)])
    found = checkup(keep=3).diagnose("data.mine", dataset).findings["empty_file"]
    assert (found.count, [case.name for case in found.cases]) == (20, ["0", "1", "2"])


def test_an_unknown_side_and_the_cleaners_own_limit(spoilt: Dataset) -> None:
    found = Checkup(None, 0, 0, Limits()).diagnose("data.mine", spoilt).findings
    assert "enlarged" not in found and found["long_caption"].count == 1
    assert "long_caption" not in Checkup(None, 0, 0, Limits(words=60)).diagnose("data.mine", spoilt).findings


def test_the_sample_is_a_function_of_the_seed() -> None:
    chosen = checkup(sample=50, seed=1).choose("data.a", 10**9)
    assert list(chosen) == sorted(set(chosen)) and len(chosen) == 50
    assert chosen == checkup(sample=50, seed=1, workers=3).choose("data.a", 10**9)
    assert chosen != checkup(sample=50, seed=2).choose("data.a", 10**9)
    assert chosen != checkup(sample=50, seed=1).choose("data.b", 10**9)
    assert checkup(sample=50).choose("data.a", 50) == range(50) == checkup().choose("data.a", 50)


class TestRepeats:
    @staticmethod
    def gathered(images: Sequence[tuple[int, int | None]]) -> Repeats:
        repeats = Repeats()
        for place, (image, image_id) in enumerate(images):
            repeats.add(Examined(10 * place, "", image=image, image_id=image_id, record=image, captions=[image]))
        return repeats

    @given(st.lists(st.tuples(st.integers(0, 3), st.one_of(st.none(), st.integers(-1, 2)))))
    def test_against_looking_at_every_pair(self, images: list[tuple[int, int | None]]) -> None:
        repeats = self.gathered(images)
        digests = [image for image, _ in images]
        later = [(n, digests.index(image)) for n, image in enumerate(digests) if digests.index(image) < n]
        assert list(repeats.records()) == [(10 * n, 10 * first) for n, first in later]
        other = [(n, first) for n, first in later if images[n][1] is None or images[n][1] != images[first][1]]
        assert list(repeats.images()) == [(10 * n, 10 * first) for n, first in other]
        assert repeats.captions() == [
            (image, 10 * digests.index(image), digests.count(image))
            for image in sorted(set(digests), key=lambda image: (-digests.count(image), image))
            if digests.count(image) >= 10
        ]

    def test_often_is_a_share_of_what_was_examined(self) -> None:
        images = [*((n, None) for n in range(1, 1990)), *[(0, None)] * 11]
        assert self.gathered(images).captions() == []
        assert self.gathered([*images[100:], *[(0, None)] * 9]).captions() == [(0, 18890, 20)]

    def test_captions_of_one_image_are_no_copies_of_it(self) -> None:
        contents = spoilt_folder.jpeg(picture(1))
        records = [Record(contents, (f"caption {n}",), image_id=7, name="7.jpg") for n in range(4)]
        assert checkup().diagnose("data.mine", Listed(records)).findings == {}


def test_sixteen_bits_and_transparency_are_no_defects() -> None:
    deep = Image.fromarray((torch.arange(64 * 64).reshape(64, 64) * 16).numpy().astype("uint16"))
    clear = picture(1).convert("RGBA")
    records = [Record(spoilt_folder.jpeg(image, "PNG"), ("a b",), name="x.png") for image in (deep, clear)]
    records.append(Record(picture(2), ("c d",)))
    found = checkup().diagnose("data.mine", Listed(records)).findings
    assert {kind: [case.index for case in finding.cases] for kind, finding in found.items()} == {"grey": [0]}


class Deadly(Listed):
    def read(self, index: int) -> Record:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def test_a_process_that_dies_is_told_in_one_line() -> None:
    with pytest.raises(MmbridgeError, match=r"a process that examined records died\. .*--workers"):
        checkup(workers=2).diagnose("data.mine", Deadly([Record(b"")] * 100))


SLOW = """
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever starts the tests in the background has it ignored
from mmbridge_registry import Dataset
from mmbridge.data.doctor import Checkup
from mmbridge.data.examining import Limits

class Slow(Dataset):
    def __len__(self): return 10**6
    def read(self, index): time.sleep(0.01); raise OSError(index)

Checkup(None, 2, 0, Limits()).diagnose("data.slow", Slow(), lambda: print("one", flush=True))
"""


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_the_one_that_asked(ending: signal.Signals) -> None:
    """Ctrl-C reaches the whole group, a kill only the main process."""
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None and process.stdout.readline() == "one\n"
    (os.killpg if ending == signal.SIGINT else os.kill)(process.pid, ending)
    _, err = process.communicate(timeout=120)
    assert err.count("Traceback") == (ending == signal.SIGINT)
    deadline = time.monotonic() + 60
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(process.pid, 0)
            time.sleep(0.05)


class TestForecast:
    """Forecasts need only a few fields of a recipe."""

    @staticmethod
    def recipe(limit: float = 0.01, steps: int = 1000, weights: dict[str, float] | None = None) -> Any:
        data = {name: SimpleNamespace(weight=weight) for name, weight in (weights or {"a": 1.0}).items()}
        stage = SimpleNamespace(data=None, steps=steps, batch_size=10)
        return SimpleNamespace(stages={"s": stage}, data=data, run=SimpleNamespace(max_bad_fraction=limit))

    @staticmethod
    def diagnosed(name: str, spoilt: int, checked: int = 1000, records: int = 10_000) -> tuple[Any, Diagnosis]:
        found = Diagnosis(records, checked, spoilt, spoilt, {}, None)
        return SimpleNamespace(data=(name,), evaluations=()), found

    @pytest.mark.parametrize(
        ("spoilt", "limit", "stops"),
        [(0, 0.01, False), (0, 0.0, False), (9, 0.01, False), (11, 0.01, True), (1, 0.0, True), (999, 1.0, False),
         (1000, 1.0, True)],
    )  # fmt: skip
    def test_the_share_against_the_limit(self, spoilt: int, limit: float, stops: bool) -> None:
        one = forecast(self.recipe(limit), [self.diagnosed("a", spoilt)])["stages.s"]
        assert (one.stops, one.spoilt, bool(one.reason)) == (stops, spoilt / 1000, spoilt > 0)

    def test_shares_of_the_mixture_count(self) -> None:
        diagnoses = [self.diagnosed("a", 40), self.diagnosed("b", 0)]
        assert forecast(self.recipe(weights={"a": 0.3, "b": 0.7}), diagnoses)["stages.s"].stops
        one = forecast(self.recipe(weights={"a": 0.2, "b": 0.8}), diagnoses)["stages.s"]
        assert not one.stops and one.spoilt == pytest.approx(0.008)

    def test_a_few_bad_records_are_accidents(self) -> None:
        assert not forecast(self.recipe(), [self.diagnosed("a", 9, 16, 16)])["stages.s"].stops
        assert forecast(self.recipe(), [self.diagnosed("a", 10, 16, 16)])["stages.s"].stops
        assert not forecast(self.recipe(steps=1), [self.diagnosed("a", 500)])["stages.s"].stops

    def test_what_cannot_be_opened_stops(self) -> None:
        data_set = SimpleNamespace(data=("a",), evaluations=("e",))
        found = forecast(self.recipe(), [(data_set, None)])  # type: ignore[list-item]
        assert found["stages.s"].stops and "data.a" in found["stages.s"].reason
        assert found["evaluate.e"].stops

    def test_one_unreadable_image_stops_an_evaluation(self, spoilt: Dataset) -> None:
        found = checkup().diagnose("evaluate.e", spoilt)
        data_set = SimpleNamespace(data=("a",), evaluations=("e",))
        assert forecast(self.recipe(1.0), [(data_set, found)])["evaluate.e"].stops  # type: ignore[list-item]
        silent = Listed([Record(spoilt_folder.jpeg(picture(3)))])
        found = checkup().diagnose("evaluate.e", silent)
        assert not forecast(self.recipe(), [(data_set, found)])["evaluate.e"].stops  # type: ignore[list-item]


def test_every_defect_is_documented() -> None:
    docs = (Path(__file__).parents[3] / "docs" / "data.md").read_text()
    assert [line.split(" | ")[0][2:] for line in docs.splitlines() if line[2:].startswith(tuple(DEFECTS.values()))] == [
        *DEFECTS.values()
    ]
