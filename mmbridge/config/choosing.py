"""Choosing a part: from `{name: x, option: ...}` to the offer that was found and its checked options."""

from collections.abc import Iterable
from typing import Any

from mmbridge_registry import MmbridgeError, PluginError, UserError
from mmbridge_registry.discovery import Discovered
from mmbridge_registry.kinds import Kind

from mmbridge.config.checking import check
from mmbridge.config.places import KeyPath, Problems
from mmbridge.recipe import Chosen


def choose(
    kind: Kind,
    entry: Any,
    path: KeyPath,
    found: Discovered,
    problems: Problems,
    default: str | None = None,
    ours: Iterable[str] = (),
) -> Chosen | None:
    """Find the part that an entry names and check its options; note mistakes and give None.

    `default` is the name of an entry that has none; `ours` are keys that belong to the framework, already read.
    """
    entry = problems.mapping(path, entry)
    if entry is None:
        return None
    name = entry.pop("name", default)
    if not isinstance(name, str):
        known = ", ".join(found.catalog.names(kind)) or "none"
        problems.add(path, f"this {kind.title} needs a name.", f"Write {{name: ...}}; known: {known}.")
        return None
    name_path = (*path, "name") if (*path, "name") in problems.places else path
    try:
        offer = found.catalog.find(kind, name, where=problems.where(name_path))
    except MmbridgeError as error:
        problems.found.append(_explained(error, kind, name, found))
        return None
    options = check(offer.options, entry, path, problems, f"{kind.title} '{name}' of {offer.plugin}", ["name", *ours])
    places = {option: problems.where((*path, option)) for option in entry}
    return options and Chosen(offer, options, problems.where(path), places)


def _explained(error: MmbridgeError, kind: Kind, name: str, found: Discovered) -> MmbridgeError:
    """Say more about a part that nobody offers: it may be of another kind, or its plugin may be broken."""
    if isinstance(error, PluginError):
        return error
    others = [offer.kind.title for offer in found.catalog.offers() if offer.name == name and offer.kind != kind]
    hints = [f"'{name}' is a {other}." for other in others]
    hints += [f"{broken.plugin} could not be loaded: {broken.cause.splitlines()[0]}" for broken in found.broken]
    return UserError(error.what, where=error.where, do=" ".join(hints) or None)
