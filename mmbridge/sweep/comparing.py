"""What the finished runs of a sweep say: means over seeds, and differences to the first variant, seed by seed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from mmbridge.results import read_results
from mmbridge.sweep.declared import Planned, Sweep
from mmbridge.sweep.intervals import Mean

BySeed = Mapping[int, Mapping[str, Any]]
"""One result of evaluation.json per seed."""


@dataclass(frozen=True)
class Row:
    """One result of one variant."""

    result: str
    """Its key in evaluation.json: stage/evaluation/metric."""
    variant: str
    values: dict[int, float]
    """By seed."""
    mean: Mean
    difference: Mean | None
    """To the first variant, over the seeds that both have; None of the first variant itself, and without such seeds."""
    chance: float | None
    protocols: tuple[str, ...]
    """How it was measured; more than one if not all seeds, or not the first variant's, were measured alike."""

    @classmethod
    def of(cls, result: str, variant: str, own: BySeed, reference: BySeed) -> "Row":
        """Make the row of a variant; `reference` is empty for the first one."""
        values, others = ({seed: one["value"] for seed, one in each.items()} for each in (own, reference))
        differences = [value - others[seed] for seed, value in values.items() if seed in others]
        measured = [*own.values(), *reference.values()]
        return cls(
            result,
            variant,
            values,
            mean=Mean.of(list(values.values())),
            difference=Mean.of(differences) if differences else None,
            chance=measured[0].get("chance"),
            protocols=tuple(dict.fromkeys(f"{one.get('protocol')}; n = {one.get('n')}" for one in measured)),
        )

    @property
    def differs(self) -> bool:
        """Say whether the interval of the difference excludes 0."""
        return self.difference is not None and self.difference.excludes_zero


@dataclass(frozen=True)
class Comparison:
    """A sweep, as far as it is finished."""

    sweep: Sweep
    rows: tuple[Row, ...]
    """By result in the order of `compare:`, and by variant."""
    missing: Mapping[str, str]
    """Runs that are not in it, and why."""

    @classmethod
    def of(cls, sweep: Sweep, failed: Mapping[str, str] | None = None) -> "Comparison":
        """Read the results of all finished runs; `failed` says why others are not."""
        finished = [run for run in sweep.runs if run.is_finished]
        names = {run.name for run in finished}
        why = {run.name: "not finished" for run in sweep.runs if run.name not in names} | dict(failed or {})
        return cls(sweep, tuple(_rows(sweep, finished)), why)


def _rows(sweep: Sweep, finished: Sequence[Planned]) -> Iterable[Row]:
    measured: dict[str, dict[str, dict[int, Any]]] = {}
    for run in finished:
        for key, result in read_results(run.directory.evaluation).items():
            if isfinite(result["value"]):
                measured.setdefault(key, {}).setdefault(run.variant, {})[run.seed] = result
    for key in _asked(sweep.settings.compare, measured):
        reference = measured[key].get(sweep.reference, {})
        for variant in (one for one in sweep.settings.variants if one in measured[key]):
            yield Row.of(key, variant, measured[key][variant], {} if variant == sweep.reference else reference)


def _asked(compared: Sequence[str], keys: Iterable[str]) -> list[str]:
    """Choose the keys that `compare:` names, in its order; all if it names none."""
    chosen = [key for asked in compared for key in keys if asked in (key, key.partition("/")[2])]
    return list(dict.fromkeys(chosen)) if compared else list(keys)
