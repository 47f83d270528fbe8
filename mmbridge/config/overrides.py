"""Overrides of the command line: `path.to.key=value` sets, `~path.to.key` removes; their order does not matter."""

from collections.abc import Container, Sequence
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
    settings: dict[KeyPath, Any] = {}
    for text in overrides:
        key, is_setting, value = text.partition("=")
        if is_setting:
            path = _path(key, text)
            settings.pop(path, None)  # the later of two stands last
            settings[path] = _value(path, value, problems)
        elif text.startswith("~"):
            path = _path(text[1:], text)
            values = _without(values, path)
            problems.places[path] = COMMAND_LINE
        else:
            raise UserError(f"'{text}' is no override.", where=COMMAND_LINE, do="Write key=value, or ~key.")
    changes: dict[str, Any] = {}
    for path, value in settings.items():
        _check_parents(values, path, whole=settings)
        changes = merged(changes, _nested(path, value), same_parts=True)
    return merged(values, changes)


def _value(path: KeyPath, text: str, problems: Problems) -> Any:
    inside = Problems()
    value = parse(text, lambda _: COMMAND_LINE, inside, path)
    above = {path[:end]: COMMAND_LINE for end in range(1, len(path) + 1)}
    problems.places = {**above, **problems.places, **inside.places, path: COMMAND_LINE}
    return value


def _path(key: str, text: str) -> KeyPath:
    path = tuple(key.strip().split("."))
    if "[" in key:
        raise _list_refused(text)
    if path[0] == "base":
        raise UserError("a config's base cannot be overridden.", where=f"{COMMAND_LINE}: base", do="Copy the config.")
    if not all(path):
        raise UserError(f"'{text}' has an empty key.", where=COMMAND_LINE, do="Write path.to.key=value.")
    return path


def _nested(path: KeyPath, value: Any) -> Any:
    for key in reversed(path):
        value = {key: value}
    return value


def _check_parents(values: dict[str, Any], path: KeyPath, whole: Container[KeyPath]) -> None:
    inside: Any = values
    for depth, key in enumerate(path, start=1):
        if isinstance(inside, list):
            raise _list_refused(dotted(path))
        if inside is not None and not isinstance(inside, dict):
            where = f"{COMMAND_LINE}: {dotted(path)}"
            raise UserError(f"'{dotted(path[: depth - 1])}' is {inside!r}; it has no keys.", where=where)
        if inside is None or path[:depth] in whole:
            return
        if key not in inside and depth < len(path) and any(matches(path[:depth], entry) for entry in COLLECTIONS):
            raise _not_there(path, depth, inside, f"To add it, give it whole: {dotted(path[:depth])}={{...}}")
        inside = inside.get(key)


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
