"""Doctor: plugins that fail, crash, hang or are slow are named, and harm nobody."""

import subprocess
import sys
from pathlib import Path

import pytest
from mmbridge_registry import Plugin
from mmbridge_registry.discovery import discover, installed

from mmbridge.doctor import examine

NEEDY = "data.captions={name: nothing}"
LIGHT = """
from mmbridge_registry import DATASET, Options, hookimpl
class Nothing(Options):
    '''Nothing.'''
@hookimpl
def offer_parts(catalog):
    catalog.offer(DATASET, "nothing", Nothing, None)
@hookimpl
def run_started(run):
    pass
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Give a function that installs a plugin of the given source."""

    def install(source: str) -> Plugin:
        (tmp_path / "doctored.py").write_text(source)
        info = tmp_path / "doctored_parts-3.4.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: doctored-parts\nVersion: 3.4\n")
        (info / "entry_points.txt").write_text("[mmbridge]\ndoctored = doctored\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        return next(plugin for plugin in installed() if plugin.name == "doctored")

    return install


def test_a_healthy_plugin(plugin) -> None:
    found = examine(plugin(LIGHT))
    assert (found.distribution, found.version, found.failure) == ("doctored-parts", "3.4", None)
    assert found.parts == ["dataset: nothing"]
    assert found.hooks == ["offer_parts", "run_started"]
    assert found.torch_free is True
    assert found.seconds is not None and found.seconds < 10


@pytest.mark.parametrize(
    ("source", "failure"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("import os; os._exit(7)", "its process ended with status 7: no message"),
        ("raise SystemExit('bye')", "SystemExit: bye"),
        ("mmbridge_api = 7", "it was written for version 7 of the plugin contract, this is 1."),
        ("print('mmbridge-doctor nonsense'); import os, sys; sys.stdout.flush(); os._exit(3)", "status 3"),
    ],
)
def test_an_ill_plugin(plugin, source: str, failure: str) -> None:
    assert failure in str(examine(plugin(source)).failure)


def test_a_plugin_that_hangs(plugin) -> None:
    assert examine(plugin("import time; time.sleep(600)"), limit=3).failure == "not loaded after 3 s"


def test_a_plugin_that_imports_torch(plugin, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("")  # stands in: the real one takes seconds
    assert examine(plugin(f"import torch\n{LIGHT}")).torch_free is False


def test_a_run_that_does_not_need_an_ill_plugin_works(plugin) -> None:
    plugin("mmbridge_api = 7" + LIGHT)
    said = {
        words: subprocess.run([sys.executable, "-m", "mmbridge", *words], capture_output=True, text=True, check=False)
        for words in (("plugins", "list"), ("validate", "blip2_tiny_opt"), ("validate", "blip2_tiny_opt", NEEDY))
    }
    listed, fine, needs_it = said.values()
    assert listed.returncode == fine.returncode == 0 and "version 7" in listed.stdout
    assert needs_it.returncode == 2
    assert "plugin 'doctored' (doctored-parts 3.4) could not be loaded: it was written for version 7" in needs_it.stderr


def test_a_plugin_that_exits_does_not_stop_discovery(plugin, monkeypatch: pytest.MonkeyPatch) -> None:
    ill = plugin("raise SystemExit('bye')")
    monkeypatch.setenv("MMBRIDGE_PLUGINS", "doctored,mlp")
    sys.modules.pop("doctored", None)
    found = discover()
    assert [broken.plugin for broken in found.broken] == [ill]
    assert [good.name for good in found.plugins] == ["mlp"]
