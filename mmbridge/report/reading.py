"""Reading: what a run directory holds so far. Everything but the config may be missing."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmbridge_registry import UserError

from mmbridge.config import read_yaml
from mmbridge.results import Results, read_results
from mmbridge.run_directory import RunDirectory

REASONS = 12
"""Reasons of the quarantine that are told."""


@dataclass(frozen=True)
class RunRecord:
    """A run as its files tell it."""

    directory: RunDirectory
    name: str
    config: str
    """The config as its author wrote it."""
    resolved: Mapping[str, Any]
    lock: Mapping[str, Any]
    lines: Mapping[str, list[dict[str, Any]]]
    """What each stage logged, by step."""
    left_out: Mapping[str, int]
    """Steps left out, because of a gradient that was not finite or a spike, by stage."""
    results: Results
    quarantined: int
    quarantine: tuple[tuple[str, str, int], ...]
    """Data sets, reasons why their samples could not be used, and how often; the most frequent first."""

    def samples(self, listing: str) -> list[tuple[str, str, Path, Any]]:
        """Give stage, evaluation, folder and content of every `samples/<stage>/<evaluation>/<listing>`.

        The latest stage comes first; evaluations are in the order of their results.

        Raises:
            UserError: one of them cannot be read.
        """
        stages = [*self.resolved["stages"]]
        evaluations = list(dict.fromkeys(key.split("/")[1] for key in self.results))
        return sorted(
            (
                (path.parent.parent.name, path.parent.name, path.parent, _json(path))
                for path in (self.directory.path / "samples").glob(f"*/*/{listing}")
            ),
            key=lambda one: (-_place(one[0], stages), _place(one[1], evaluations), one[1]),
        )


def read(run: Path) -> RunRecord:
    """Read a run directory.

    Raises:
        UserError: it holds no resolved config, so it is no run; or a file of it cannot be read.
    """
    directory = RunDirectory(run)
    if not directory.resolved.exists():
        raise UserError("this is not a run directory.", where=run, do="Give one that `mmbridge run` made.")
    metrics = list(_json_lines(directory.metrics))
    quarantine = list(_json_lines(directory.quarantine))
    return RunRecord(
        directory=directory,
        name=run.resolve().name,
        config=directory.config.read_text() if directory.config.exists() else "",
        resolved=read_yaml(directory.resolved),
        lock=_json(directory.lock) if directory.lock.exists() else {},
        lines=_by_stage([line for line in metrics if "skipped" not in line]),
        left_out=Counter(line["stage"] for line in metrics if "skipped" in line),
        results=read_results(directory.evaluation),
        quarantined=len(quarantine),
        quarantine=tuple((*why, times) for why, times in Counter(map(_why, quarantine)).most_common(REASONS)),
    )


def _by_stage(lines: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Sort lines by step; of two lines for one step (a resumed run) the later counts."""
    stages: dict[str, dict[int, dict[str, Any]]] = {}
    for line in lines:
        stages.setdefault(line["stage"], {})[line["step"]] = line
    return {stage: [steps[step] for step in sorted(steps)] for stage, steps in stages.items()}


def _place(name: str, names: Sequence[str]) -> int:
    return names.index(name) if name in names else len(names)


def _why(line: Mapping[str, Any]) -> tuple[str, str]:
    return str(line.get("dataset", "")), str(line.get("reason", "unreadable"))


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"not readable ({error}).", where=path, do="Remove it and make the report again.") from error


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    for text in path.read_text().splitlines():
        try:
            yield json.loads(text)
        except ValueError:  # the last line of a run that is being written, or was cut short
            continue
