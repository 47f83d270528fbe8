"""The house: three rooms, one direction, plugins without privileges, torch only when it must be."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
PLUGINS = sorted(path.parent.name for path in ROOT.glob("plugins/*/__init__.py"))
CONTRACT = "mmbridge_registry"
FRAMEWORK = "mmbridge"
OURS = {FRAMEWORK, CONTRACT, *PLUGINS}
SOURCES = [path for room in ("mmbridge", "registry", "plugins") for path in sorted((ROOT / room).rglob("*.py"))]
HEAVY = ("torch", "torchvision", "transformers", "timm", "open_clip", "datasets", "numpy")


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """Every import of our packages, those inside functions too; only type-checking imports are left out."""
    return build_graph(*OURS)


def build_graph(*packages: str) -> grimp.ImportGraph:
    return grimp.build_graph(
        *packages, include_external_packages=True, exclude_type_checking_imports=True, cache_dir=None
    )


def imports(graph: grimp.ImportGraph, package: str) -> set[tuple[str, str]]:
    """Pairs (importing module, top-level package that it imports), for every module of a package."""
    return {
        (module, imported.partition(".")[0])
        for module in graph.modules
        if module.partition(".")[0] == package
        for imported in graph.find_modules_directly_imported_by(module)
        if imported.partition(".")[0] != package
    }


def test_the_contract_imports_none_of_us_and_little_else(graph: grimp.ImportGraph) -> None:
    allowed = {"pluggy", "pydantic", "torch"} | sys.stdlib_module_names
    beyond = {(module, name) for module, name in imports(graph, CONTRACT) if name not in allowed}
    assert beyond == {
        (f"{CONTRACT}.testing.vision_encoder", "PIL"),  # pictures for the kit
        (f"{CONTRACT}.annotation_table", "datasets"),  # Arrow tables that dataset plugins share
        (f"{CONTRACT}.annotation_table", "pyarrow"),
    }


@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_plugin_imports_the_contract_and_no_other_of_us(graph: grimp.ImportGraph, plugin: str) -> None:
    assert {name for _, name in imports(graph, plugin)} & OURS == {CONTRACT}, imports(graph, plugin)


def test_the_framework_imports_no_plugin(graph: grimp.ImportGraph) -> None:
    assert {name for _, name in imports(graph, FRAMEWORK)} & OURS == {CONTRACT}, imports(graph, FRAMEWORK)


def test_the_framework_knows_no_plugin_by_name() -> None:
    named = [
        f"{path.relative_to(ROOT)}: {plugin}"
        for path in (ROOT / FRAMEWORK).rglob("*.py")
        for plugin in PLUGINS
        if re.search(rf"\b{plugin}\b", path.read_text())
    ]
    assert named == []


def test_an_import_inside_a_function_does_not_hide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof that the tests above can fail."""
    package = tmp_path / "mmbridge_sly"
    package.mkdir()
    (package / "__init__.py").write_text(
        "def build(options):\n    from mmbridge.recipe import Recipe\n    return Recipe\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert imports(build_graph("mmbridge_sly"), "mmbridge_sly") == {("mmbridge_sly", "mmbridge")}


def test_every_plugin_arrives_through_its_entry_point() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][FRAMEWORK]
    assert declared == {plugin.removeprefix("mmbridge_"): plugin for plugin in PLUGINS}
    installed = {entry.name: entry.value for entry in entry_points(group=FRAMEWORK)}
    assert declared.items() <= installed.items()


def test_source_roots_are_no_packages() -> None:
    assert [room for room in ("registry", "plugins") if (ROOT / room / "__init__.py").exists()] == []


def test_ruff_bans_the_source_roots_as_import_names() -> None:
    code = "import plugins.mmbridge_clip\nfrom registry import mmbridge_registry\n"
    ruff = [sys.executable, "-m", "ruff", "check", "--select", "TID251", "--output-format", "concise"]
    found = subprocess.run(
        [*ruff, "--stdin-filename", "mmbridge/x.py", "-"],
        input=code,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stdout.count("TID251") == 2, found.stdout + found.stderr


def test_discovery_and_every_option_come_without_torch() -> None:
    """In a fresh interpreter: the contract, all plugins, what they offer, and the schema of each option."""
    code = (
        "import sys\n"
        "from mmbridge_registry.discovery import discover\n"
        "found = discover()\n"
        "[offer.options.model_json_schema() for offer in found.catalog.offers()]\n"
        f"print(len(found.plugins), *[name for name in {HEAVY!r} if name in sys.modules])\n"
        "print(*found.broken, file=sys.stderr)\n"
    )
    fresh = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    count, *loaded = fresh.stdout.split()
    assert loaded == []
    assert int(count) >= len(PLUGINS), fresh.stderr


def test_files_are_pages() -> None:
    lengths = {path.relative_to(ROOT): len(path.read_text().splitlines()) for path in SOURCES}
    assert {path: length for path, length in lengths.items() if length > 250} == {}
    assert sorted(lengths.values())[len(lengths) // 2] <= 110


def test_no_file_is_called_after_nothing() -> None:
    vague = re.compile(r"(utils?|helpers?|common|managers?|misc)$|base_")
    assert [path.relative_to(ROOT) for path in SOURCES if vague.match(path.stem)] == []
