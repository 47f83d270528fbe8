"""Why two runs differ: their configs, their locks, and what came out of them. Torch-free."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmbridge.report.reading import RunRecord, read
from mmbridge.run_directory import flat

PLACES = ("run.name", "run.directory")
"""Keys in which two runs always differ."""
OF_CONFIG = ("config", "seed")
"""Keys of a lock that say again what the config says."""
SPEED = ("samples_per_second", "seconds", "data_wait")

Pair = tuple[Any, Any]


@dataclass(frozen=True)
class Diff:
    """Two runs beside each other, by key; what only one of them has is None in the other."""

    config: dict[str, Pair]
    """Keys that differ."""
    lock: dict[str, Pair]
    """Keys that differ."""
    results: dict[str, Pair]
    """All last losses and evaluations, whether they differ or not."""
    speed: dict[str, Pair]
    """How quick they were; that two runs are not equally quick makes them no different."""

    @property
    def same(self) -> bool:
        """Whether nothing differs but the speed."""
        return not self.config and not self.lock and not _differing(self.results)


def diff(first: Path, second: Path) -> Diff:
    """Compare two runs' directories, however far the runs are.

    Raises:
        UserError: one of them is no run's, or a file of it cannot be read.
    """
    runs = read(first), read(second)
    configs = (_without(flat(run.resolved), PLACES) for run in runs)
    locks = (_without(flat(run.lock), OF_CONFIG) for run in runs)
    return Diff(
        _differing(_beside(*configs)),
        _differing(_beside(*locks)),
        _beside(*map(_results, runs)),
        _beside(*map(_speed, runs)),
    )


def _results(run: RunRecord) -> dict[str, Any]:
    """Give the last line of each stage, and the evaluations."""
    last = {stage: lines[-1] for stage, lines in run.lines.items() if lines}
    logged = {
        f"{stage}/{key}": value
        for stage, line in last.items()
        for key, value in line.items()
        if key not in ("stage", "samples", *SPEED)
    }
    return logged | {key: result.get("value") for key, result in run.results.items()}


def _speed(run: RunRecord) -> dict[str, Any]:
    """Give the samples per second of each stage: the median, because the first steps are slow."""
    rates = {
        stage: sorted(line["samples_per_second"] for line in lines if line.get("samples_per_second") is not None)
        for stage, lines in run.lines.items()
    }
    return {f"{stage}/samples_per_second": found[len(found) // 2] for stage, found in rates.items() if found}


def _without(values: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in keys}


def _beside(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Pair]:
    keys = dict.fromkeys((*first, *second))
    return {key: (first.get(key), second.get(key)) for key in keys}


def _differing(pairs: Mapping[str, Pair]) -> dict[str, Pair]:
    return {key: (one, other) for key, (one, other) in pairs.items() if one != other}
