"""The catalog: every part that some plugin offers, by kind and name."""

import difflib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from mmbridge_registry.errors import PluginError, UserError
from mmbridge_registry.kinds import Kind
from mmbridge_registry.options import Options

T = TypeVar("T")


@dataclass(frozen=True)
class Plugin:
    """Where parts come from: an entry point of an installed distribution."""

    name: str
    module: str
    distribution: str
    version: str

    def __str__(self) -> str:
        return f"plugin '{self.name}' ({self.distribution} {self.version})"


UNPACKAGED = Plugin("(unpackaged)", "", "not installed", "0")


@dataclass(frozen=True)
class Offer:
    """One part on offer: its options can be read without torch, its builder imports what is heavy."""

    kind: Kind
    name: str
    options: type[Options]
    build: Callable[..., Any]
    plugin: Plugin
    provides: frozenset[str] = frozenset()
    requires: frozenset[str] = frozenset()


@dataclass(frozen=True)
class PublishedFile:
    """Where an annotation file is published, and how to know that it arrived whole."""

    name: str
    """What the file is called."""
    url: str
    """Address of the file itself, or of a .zip or .tar.gz that has it as a member; https only."""
    checksum: str | None = None
    """`sha256:...` or `md5:...` of what the address gives; None if nobody has published one."""


class Catalog:
    """All parts known, as a value that is passed along; there is no global one."""

    def __init__(self) -> None:
        self._offers: dict[tuple[Kind, str], list[Offer]] = {}
        self._shipped: dict[str, list[tuple[Plugin, Path]]] = {}
        self._published: dict[str, list[tuple[Plugin, PublishedFile]]] = {}
        self._plugin = UNPACKAGED

    @contextmanager
    def of(self, plugin: Plugin) -> Iterator["Catalog"]:
        """Attribute what is offered inside the block to `plugin`."""
        before, self._plugin = self._plugin, plugin
        try:
            yield self
        finally:
            self._plugin = before

    def offer(
        self,
        kind: Kind,
        name: str,
        options: type[Options],
        build: Callable[..., Any],
        *,
        provides: Iterable[str] = (),
        requires: Iterable[str] = (),
    ) -> None:
        """Offer a part under a name; `provides` and `requires` are traits (`mmbridge_registry.kinds`)."""
        offer = Offer(kind, name, options, build, self._plugin, frozenset(provides), frozenset(requires))
        self._offers.setdefault((kind, name), []).append(offer)

    def ship(self, name: str, path: Path) -> None:
        """Offer weights that come inside the plugin's own package under a name that YAML can use (`tiny/vit`)."""
        self._shipped.setdefault(name, []).append((self._plugin, path))

    def publish(self, file: PublishedFile) -> None:
        """Say where an annotation file is published, so that `mmbridge fetch` can get it."""
        self._published.setdefault(file.name, []).append((self._plugin, file))

    def find(self, kind: Kind, name: str, where: object = None) -> Offer:
        """Give the part of that kind and name.

        Raises:
            UserError: nobody offers it; the message has the nearest name and the list.
            PluginError: two plugins offer it; the message names both.
        """
        offers = self._offers.get((kind, name), [])
        if not offers:
            raise UserError(f"there is no {kind.title} '{name}'{did_you_mean(name, self.names(kind))}", where=where)
        return _only(offers, [offer.plugin for offer in offers], f"the {kind.title} '{name}'", where)

    def shipped(self, name: str, where: object = None) -> Path | None:
        """Give the path of shipped weights, or None if no plugin ships that name."""
        entries = self._shipped.get(name, [])
        if not entries:
            return None
        return _only(entries, [plugin for plugin, _ in entries], f"the weights '{name}'", where)[1]

    def published(self, name: str, where: object = None) -> PublishedFile | None:
        """Say where an annotation file of that name is published, or None if no plugin knows."""
        entries = self._published.get(name, [])
        if not entries:
            return None
        return _only(entries, [plugin for plugin, _ in entries], f"the annotation file '{name}'", where)[1]

    def published_names(self) -> list[str]:
        """List the annotation files that plugins know where to get, sorted."""
        return sorted(self._published)

    def names(self, kind: Kind) -> list[str]:
        """List the names on offer of one kind, sorted."""
        return sorted(name for offered, name in self._offers if offered == kind)

    def shipped_names(self) -> list[str]:
        """List the names of shipped weights, sorted."""
        return sorted(self._shipped)

    def offers(self) -> list[Offer]:
        """List everything on offer, in order of discovery."""
        return [offer for offers in self._offers.values() for offer in offers]


def _only(entries: list[T], plugins: list[Plugin], what: str, where: object) -> T:
    if len(entries) > 1:
        raise PluginError(
            f"{what} is offered by {' and by '.join(map(str, plugins))}.",
            where=where,
            do="Uninstall one, or choose plugins with MMBRIDGE_PLUGINS=name,name.",
        )
    return entries[0]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Give the tail of an error message: the nearest known word, and the list if it is short."""
    known = list(known)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if near:
        return f"; did you mean '{near[0]}'?"
    return f"; known: {', '.join(known) or 'none'}." if len(known) <= 20 else "."
