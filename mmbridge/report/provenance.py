"""Provenance: what a run.lock.json holds, as tables."""

from collections.abc import Mapping
from typing import Any

from mmbridge.run_directory import flat

TITLES = {
    "packages": "packages",
    "weights": "weights",
    "data": "data",
    "evaluate": "data of the evaluations",
    "plugins": "plugins",
    "code": "code",
    "earlier": "changed while it ran",
}

Facts = dict[str, str]


def locked(lock: Mapping[str, Any]) -> list[tuple[str, Facts]]:
    """Divide a lock into titled tables: the run's own facts first, then versions, weights, data and code."""
    own = {key: value for key, value in lock.items() if key not in TITLES}
    tables = [("run", _facts(own)), *((title, _facts(lock.get(key))) for key, title in TITLES.items())]
    return [(title, facts) for title, facts in tables if facts]


def _facts(value: Any) -> Facts:
    if isinstance(value, list):  # what was different before, each time the run went on
        value = {f"{number}. {key}": before for number, one in enumerate(value, 1) for key, before in flat(one).items()}
    leaves = flat(value) if isinstance(value, Mapping) else {}
    return {key: str(leaf) for key, leaf in leaves.items() if leaf is not None and leaf != {}}
