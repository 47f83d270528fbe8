"""Merging a config onto its base, and overrides onto both: later wins."""

from typing import Any

from mmbridge.config.places import KeyPath

PARTS: tuple[KeyPath, ...] = (
    ("model", "*"),
    ("data", "*"),
    ("stages", "*", "objectives", "*"),
    ("evaluate", "*"),
    ("evaluate", "*", "data"),
    ("captioner",),
    ("scorer",),
)
"""Where parts are named."""

NOT_OPTIONS = ("weight", "stages", "every", "data")
"""Keys of a part's entry that are the framework's own: they outlive a change of part."""


def matches(path: KeyPath, pattern: KeyPath) -> bool:
    """Say whether a key path has the shape of `pattern`, where `*` is any key."""
    return len(path) == len(pattern) and all(want in ("*", key) for key, want in zip(path, pattern, strict=True))


def merged(old: Any, new: Any, path: KeyPath = (), same_parts: bool = False) -> Any:
    """Merge mappings key by key; everything else is replaced, lists too.

    An entry that names another part than before starts afresh, for the options of one part do not fit another; with
    `same_parts`, both sides speak of the same parts and nothing is dropped.
    """
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    is_part = any(matches(path, part) for part in PARTS)
    if is_part and not same_parts and "name" in new and new["name"] != old.get("name", path[-1]):
        old = {key: value for key, value in old.items() if key in NOT_OPTIONS}
    result = dict(old)
    for key, value in new.items():
        result[key] = merged(old[key], value, (*path, key), same_parts) if key in old else value
    return result
