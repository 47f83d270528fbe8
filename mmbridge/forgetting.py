"""Forgetting: what was written of steps that are taken again.

Whoever takes them anew may arrive at other weights, so that no loss, no result and no answer of then is of now.
"""

import json
import shutil
from collections.abc import Callable, Collection
from pathlib import Path

from mmbridge.asked.journal import asked_after
from mmbridge.disk import publish
from mmbridge.results import read_results, write_results
from mmbridge.run_directory import RunDirectory

Stands = Callable[[str, int], bool]
"""Whether a step of a stage stands."""


def forget(directory: RunDirectory, stage: str, step: int, later: Collection[str]) -> None:
    """Forget what was logged and evaluated after `step` of `stage` and in `later` stages."""

    def stands(name: str, at: int) -> bool:
        return name not in later and (name != stage or at <= step)

    _cut(directory.metrics, stands)
    results = read_results(directory.evaluation)
    kept = {key: one for key, one in results.items() if stands(key.partition("/")[0], one.get("step", 0))}
    if kept != results:
        write_results(directory.evaluation, kept)
    for name in (stage, *later):
        for answers in directory.unfinished(name):
            if not stands(name, asked_after(answers)):
                shutil.rmtree(answers)


def _cut(path: Path, stands: Stands) -> None:
    if not path.exists():
        return
    kept = []
    for text in path.read_text().splitlines():
        try:
            line = json.loads(text)
        except ValueError:  # a line cut short by a crash
            continue
        if stands(line["stage"], line["step"]):
            kept.append(text + "\n")
    publish(path, 0, lambda partial: partial.write_text("".join(kept)))
