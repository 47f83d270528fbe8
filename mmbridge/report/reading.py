"""Reading: what a run directory holds so far. Everything but the config may be missing."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmbridge_registry import UserError

from mmbridge.config import read_yaml
from mmbridge.results import Results, read_results
from mmbridge.run_directory import RunDirectory


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
    quarantine: tuple[tuple[str, int], ...]
    """Reasons why samples could not be read, and how often; the most frequent first."""


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
        lock=json.loads(directory.lock.read_text()) if directory.lock.exists() else {},
        lines=_by_stage([line for line in metrics if "skipped" not in line]),
        left_out=Counter(line["stage"] for line in metrics if "skipped" in line),
        results=read_results(directory.evaluation),
        quarantined=len(quarantine),
        quarantine=tuple(Counter(str(line.get("reason", "unreadable")) for line in quarantine).most_common(8)),
    )


def _by_stage(lines: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Sort lines by step; of two lines for one step (a resumed run) the later counts."""
    stages: dict[str, dict[int, dict[str, Any]]] = {}
    for line in lines:
        stages.setdefault(line["stage"], {})[line["step"]] = line
    return {stage: [steps[step] for step in sorted(steps)] for stage, steps in stages.items()}


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    for text in path.read_text().splitlines():
        try:
            yield json.loads(text)
        except ValueError:  # the last line of a run that is being written, or was cut short
            continue
