"""Discovery: each plugin by itself, a broken one named, the others unharmed."""

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mmbridge_registry import API_VERSION, VISION_ENCODER, PluginError
from mmbridge_registry.discovery import ALLOW_LIST, Discovered, discover, installed
from toys.one_file_plugin import install

HEAD = """
from mmbridge_registry import VISION_ENCODER, Options, hookimpl
class Nothing(Options):
    "No options."
"""
GOOD = (
    HEAD
    + """
@hookimpl
def offer_parts(catalog):
    catalog.offer(VISION_ENCODER, "{part}", Nothing, lambda options: options)
"""
)
HALF_WAY = GOOD + "    raise RuntimeError('half-way')\n"
BROKEN = {
    "no_such_module": ("import there_is_no_such_module", "ModuleNotFoundError: No module named 'there_is_no"),
    "no_python": ("def (:", "SyntaxError"),
    "leaves": ("raise SystemExit(3)", "SystemExit: 3"),
    "half_way": (HALF_WAY.format(part="half"), "RuntimeError: half-way"),
    "misspelt": (HEAD + "@hookimpl\ndef offer_prats(catalog): ...", "PluginValidationError"),
    "wrong_argument": (HEAD + "@hookimpl\ndef offer_parts(katalog): ...", "PluginValidationError"),
}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on `sys.path`, in which nothing but the plugins of the test is admitted."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv(ALLOW_LIST, "")
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def add(site: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: str) -> None:
    """Write a distribution with one plugin, and admit it."""
    install(site, name, code)
    admitted = [*filter(None, [os.environ[ALLOW_LIST]]), name]
    monkeypatch.setenv(ALLOW_LIST, ",".join(admitted))
    importlib.invalidate_caches()


def names(found: Discovered) -> list[str]:
    return found.catalog.names(VISION_ENCODER)


def test_an_empty_allow_list_admits_none(site: Path) -> None:
    found = discover()
    assert (found.plugins, found.broken, found.catalog.offers()) == ([], [], [])


def test_without_an_allow_list_all_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ALLOW_LIST, raising=False)
    found = discover()
    assert "clip_vit" in names(found)
    assert [*found.plugins, *(broken.plugin for broken in found.broken)] == installed()


def test_the_allow_list_admits_the_named(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        add(site, monkeypatch, name, GOOD.format(part=f"part_{name}"))
    assert names(discover()) == ["part_one", "part_two"]
    monkeypatch.setenv(ALLOW_LIST, " two , nobody")
    found = discover()
    assert names(found) == ["part_two"]
    assert str(found.plugins[0]) == "plugin 'two' (dist-two 1.5)"


@pytest.mark.parametrize("kind", sorted(BROKEN))
def test_a_broken_plugin_is_named_and_harms_nobody(kind: str, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, cause = BROKEN[kind]
    add(site, monkeypatch, "a_good", GOOD.format(part="before"))
    add(site, monkeypatch, f"b_{kind}", code)
    add(site, monkeypatch, "c_good", GOOD.format(part="after"))
    found = discover()
    assert names(found) == ["after", "before"], "and nothing of the broken one is left in the catalog"
    (broken,) = found.broken
    assert (broken.plugin.distribution, broken.plugin.version) == (f"dist-b_{kind}", "1.5")
    assert broken.cause.startswith(cause)
    assert [plugin.name for plugin in found.plugins] == ["a_good", "c_good"]


def test_a_plugin_may_say_for_which_contract_it_was_written(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(site, monkeypatch, "fits", f"mmbridge_api = {API_VERSION}\n" + GOOD.format(part="fitting"))
    add(site, monkeypatch, "old", "mmbridge_api = 0\n" + GOOD.format(part="outdated"))
    found = discover()
    assert names(found) == ["fitting"]
    said = f"version 0 of the plugin contract, this is {API_VERSION}. Install a dist-old that fits."
    assert [(broken.plugin.name, broken.cause) for broken in found.broken] == [("old", f"it was written for {said}")]


def test_two_plugins_with_one_name_are_both_named(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(site, monkeypatch, "one", GOOD.format(part="same"))
    add(site, monkeypatch, "two", GOOD.format(part="same"))
    found = discover()
    assert found.broken == [], "discovery itself does not mind"
    with pytest.raises(PluginError, match=r"dist-one 1\.5.*dist-two 1\.5"):
        found.catalog.find(VISION_ENCODER, "same")


def test_a_distribution_that_lies_twice_on_the_path_counts_once(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(site, monkeypatch, "one", GOOD.format(part="same"))
    again = site / "again"
    again.mkdir()
    monkeypatch.setenv(ALLOW_LIST, "")
    add(again, monkeypatch, "one", GOOD.format(part="same"))
    monkeypatch.syspath_prepend(str(again))
    found = discover()
    assert len(found.plugins) == 1
    assert found.catalog.find(VISION_ENCODER, "same")


def test_hooks_of_a_runs_life_are_registered(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = HEAD + "seen = []\n@hookimpl\ndef stage_finished(run, stage): seen.append(stage)\n"
    add(site, monkeypatch, "tracker", tracker)
    found = discover()
    found.hooks.hook.stage_finished(run=site, stage="representation")
    assert sys.modules["stray_tracker"].seen == ["representation"]
    assert found.catalog.offers() == []
