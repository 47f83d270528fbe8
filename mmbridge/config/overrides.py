"""Overrides of the command line: `path.to.key=value` sets, `~path.to.key` removes; their order does not matter."""

from collections.abc import Sequence
from typing import Any

from mmbridge_registry import UserError
from mmbridge_registry.catalog import did_you_mean

from mmbridge.config.document import parse
from mmbridge.config.merging import matches, merged
from mmbridge.config.places import KeyPath, Problems, dotted

COMMAND_LINE = "command line"

# A misspelt name here would quietly add a second stage (or data set, or objective) instead of changing the first.
COLLECTIONS: tuple[KeyPath, ...] = (
    ("stages", "*"),
    ("data", "*"),
    ("evaluate", "*"),
    ("stages", "*", "objectives", "*"),
)


def override(values: dict[str, Any], overrides: Sequence[str], problems: Problems) -> dict[str, Any]:
    """Give `values` with overrides applied: removals first, then what is set.

    Raises:
        UserError: an override that cannot be read, or that names what is not there.
    """
    changes: dict[str, Any] = {}
    for text in overrides:
        if text.startswith("~"):
            path = _path(text[1:], text)
            values = _without(values, path)
            problems.places[path] = COMMAND_LINE
        else:
            key, found, value = text.partition("=")
            if not found:
                raise UserError(f"'{text}' is no override.", where=COMMAND_LINE, do="Write key=value, or ~key.")
            path = _path(key, text)
            changes = merged(changes, _nested(path, parse(value, lambda _: COMMAND_LINE, problems, path)))
            for end in range(1, len(path) + 1):
                problems.places.setdefault(path[:end], COMMAND_LINE)
            problems.places[path] = COMMAND_LINE
            _check_parents(values, path)
    return merged(values, changes)


def _path(key: str, text: str) -> KeyPath:
    path = tuple(key.strip().split("."))
    if "[" in key:
        raise _list_refused(text)
    if not all(path):
        raise UserError(f"'{text}' has an empty key.", where=COMMAND_LINE, do="Write path.to.key=value.")
    return path


def _nested(path: KeyPath, value: Any) -> Any:
    for key in reversed(path):
        value = {key: value}
    return value


def _check_parents(values: dict[str, Any], path: KeyPath) -> None:
    inside: Any = values
    for depth, key in enumerate(path[:-1], start=1):
        if isinstance(inside, list):
            break
        if not isinstance(inside, dict):
            return
        if key not in inside and any(matches(path[:depth], entry) for entry in COLLECTIONS):
            raise _not_there(path, depth, inside, f"To add it, give it whole: {dotted(path[:depth])}={{...}}")
        inside = inside.get(key)
    if isinstance(inside, list):
        raise _list_refused(dotted(path))


def _without(values: dict[str, Any], path: KeyPath, depth: int = 1) -> dict[str, Any]:
    key, inside = path[depth - 1], values
    if key not in inside:
        raise _not_there(path, depth, inside)
    if depth == len(path):
        return {name: value for name, value in values.items() if name != key}
    if isinstance(values[key], list):
        raise _list_refused(f"~{dotted(path)}")
    deeper = values[key] if isinstance(values[key], dict) else {}
    return {**values, key: _without(deeper, path, depth + 1)}


def _not_there(path: KeyPath, depth: int, known: dict[str, Any], do: str | None = None) -> UserError:
    what = f"there is no '{dotted(path[:depth])}'{did_you_mean(path[depth - 1], known)}"
    return UserError(what, where=f"{COMMAND_LINE}: {dotted(path)}", do=do)


def _list_refused(text: str) -> UserError:
    do = "Set the whole list: train=[bridge,projection]."
    return UserError("an item of a list cannot be overridden.", where=f"{COMMAND_LINE}: {text}", do=do)
