"""What was found out about a data set, gathered record by record."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate

from mmbridge_registry import Dataset

from mmbridge.data.defects import DEFECTS, SPOILT_IMAGES
from mmbridge.data.examining import Examined, digest
from mmbridge.data.repeats import Repeats
from mmbridge.data.text import clean_caption


@dataclass(frozen=True)
class Case:
    """One record with a defect."""

    index: int
    name: str
    detail: str


@dataclass
class Finding:
    """How many records have a defect, and the first of them."""

    count: int = 0
    cases: list[Case] = field(default_factory=list)


@dataclass(frozen=True)
class Lengths:
    """Words of the captions, after cleaning and before any are cut."""

    captions: int
    shortest: int
    median: int
    longest: int


@dataclass(frozen=True)
class Diagnosis:
    """What was found out about the records of one data set that were checked."""

    records: int
    checked: int
    spoilt: int
    """Records that training would replace."""
    spoilt_names: int
    """Different names among them: what the quarantine counts."""
    findings: dict[str, Finding]
    """By kind, in the order of `DEFECTS`."""
    lengths: Lengths | None

    @property
    def spoilt_images(self) -> int:
        """Records whose image cannot be read, by an evaluation either."""
        return sum(found.count for kind, found in self.findings.items() if kind in SPOILT_IMAGES)


class Gathered:
    """What is known so far of a data set; of each defect the first `keep` cases are named, or all (None)."""

    def __init__(self, dataset: Dataset, keep: int | None) -> None:
        self.dataset, self.keep = dataset, keep
        self._findings: dict[str, Finding] = {}
        self._spoilt: Counter[str] = Counter()
        self._lengths: Counter[int] = Counter()
        self._repeats = Repeats()
        self._checked = 0

    def add(self, found: Examined) -> None:
        """Take note of an examined record."""
        self._checked += 1
        self._lengths.update(found.lengths)
        self._repeats.add(found)
        if found.spoilt is not None:
            self._spoilt[found.name] += 1
        for defect in [found.spoilt, *found.oddities]:
            if defect is not None:
                finding = self._count(defect.kind)
                if self._wanted(finding):
                    finding.cases.append(Case(found.index, found.name, defect.detail))

    def diagnosis(self) -> Diagnosis:
        """Say what was found; repeats are looked for now."""
        self._note_pairs("duplicate_image", self._repeats.images())
        self._note_pairs("duplicate_record", self._repeats.records())
        for known, index, times in self._repeats.captions():
            finding = self._count("common_caption", times)
            if self._wanted(finding):
                finding.cases.append(Case(index, self._caption(index, known), f"{times} times"))
        findings = {kind: self._findings[kind] for kind in DEFECTS if kind in self._findings}
        spoilt, names = self._spoilt.total(), len(self._spoilt)
        return Diagnosis(len(self.dataset), self._checked, spoilt, names, findings, _summary(self._lengths))

    def _note_pairs(self, kind: str, pairs: Iterable[tuple[int, int]]) -> None:
        for later, first in pairs:
            finding = self._count(kind)
            if self._wanted(finding):
                finding.cases.append(Case(later, self._name(later), f"as {self._name(first)}"))

    def _count(self, kind: str, times: int = 1) -> Finding:
        finding = self._findings.setdefault(kind, Finding())
        finding.count += times
        return finding

    def _wanted(self, finding: Finding) -> bool:
        return self.keep is None or len(finding.cases) < self.keep

    def _name(self, index: int) -> str:
        return self.dataset.read(index).name or f"record {index}"

    def _caption(self, index: int, known: int) -> str:
        cleaned = map(clean_caption, self.dataset.read(index).texts)
        return next(text for text in cleaned if digest(text.encode(errors="replace")) == known)


def _summary(lengths: Counter[int]) -> Lengths | None:
    if not lengths:
        return None
    ordered = sorted(lengths)
    reached = list(accumulate(lengths[length] for length in ordered))
    median = ordered[bisect_left(reached, reached[-1] / 2)]
    return Lengths(reached[-1], ordered[0], median, ordered[-1])
