"""Discovery: load each installed plugin by itself, so that a broken one harms nobody else."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points

import pluggy

from mmbridge_registry import hooks
from mmbridge_registry.catalog import Catalog, Plugin
from mmbridge_registry.errors import MmbridgeError, PluginError

GROUP = "mmbridge"
ALLOW_LIST = "MMBRIDGE_PLUGINS"


def _manager() -> pluggy.PluginManager:
    manager = pluggy.PluginManager(hooks.PROJECT)
    manager.add_hookspecs(hooks)
    return manager


@dataclass(frozen=True)
class Broken:
    """A plugin that could not be loaded, and why."""

    plugin: Plugin
    cause: str


@dataclass
class Discovered:
    """What discovery found: the catalog, the hooks of a run's life, the plugins, those that are broken."""

    catalog: Catalog = field(default_factory=Catalog)
    hooks: pluggy.PluginManager = field(default_factory=_manager)
    plugins: list[Plugin] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)


def discover() -> Discovered:
    """Load every plugin of the entry-point group `mmbridge`.

    `MMBRIDGE_PLUGINS=a,b` in the environment admits only the plugins named; empty admits none.
    """
    found = Discovered()
    for entry in _admitted(entry_points(group=GROUP)):
        plugin = _plugin(entry)
        try:
            load(entry, plugin, found)
        except (Exception, SystemExit) as error:  # whatever a stranger's code raises at import
            kind = "" if isinstance(error, MmbridgeError) else f"{type(error).__name__}: "
            found.broken.append(Broken(plugin, f"{kind}{error}"))
    return found


def installed() -> list[Plugin]:
    """List the plugins that `discover` would load, without loading any."""
    return [_plugin(entry) for entry in _admitted(entry_points(group=GROUP))]


def load(entry: EntryPoint, plugin: Plugin, found: Discovered) -> None:
    """Import one plugin, let it offer its parts, and register its hooks. Nothing is kept if any of that fails.

    Raises:
        PluginError: it was written for another version of the contract.
    """
    module = entry.load()
    written_for = getattr(module, hooks.STATED, hooks.API_VERSION)
    if written_for != hooks.API_VERSION:
        what = f"it was written for version {written_for!r} of the plugin contract, this is {hooks.API_VERSION}."
        raise PluginError(what, do=f"Install a {plugin.distribution} that fits.")
    alone = _manager()
    alone.register(module, name=plugin.name)
    alone.check_pending()
    # A rehearsal on an empty catalog: a plugin that raises half-way leaves nothing behind in the real one.
    alone.hook.offer_parts(catalog=Catalog())
    with found.catalog.of(plugin) as catalog:
        alone.hook.offer_parts(catalog=catalog)
    found.hooks.register(module, name=f"{plugin.distribution}:{plugin.name}")
    found.plugins.append(plugin)


def _admitted(entries: Iterable[EntryPoint]) -> list[EntryPoint]:
    # A distribution that lies twice on sys.path (an editable install and a wheel) shows its entry points twice.
    unique = dict(sorted({(entry.name, entry.value): entry for entry in entries}.items()))
    allowed = os.environ.get(ALLOW_LIST)
    if allowed is None:
        return list(unique.values())
    names = {name.strip() for name in allowed.split(",")}
    return [entry for entry in unique.values() if entry.name in names]


def _plugin(entry: EntryPoint) -> Plugin:
    distribution = entry.dist
    name, version = (distribution.name, distribution.version) if distribution else ("unknown", "0")
    return Plugin(entry.name, entry.value, name, version)
