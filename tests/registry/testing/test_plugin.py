"""The check of plugin packages: a good one passes, every broken promise is named."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mmbridge_registry.testing import check_plugin

PLUGIN = '''
from mmbridge_registry import DATASET, LANGUAGE_MODEL, Options, hookimpl
class Settings(Options):
    "Settings."
    size: int = 1
    """Size."""
def build(options):
    "Build it."
@hookimpl
def offer_parts(catalog):
    catalog.offer(DATASET, "mine", Settings, build)
'''


class TestPlugin:
    @pytest.fixture
    def check(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: Any) -> Callable[[str], None]:
        def check(code: str) -> None:
            name = f"plugin_{abs(hash(code))}"
            (tmp_path / f"{name}.py").write_text(code)
            monkeypatch.setenv("PYTHONPATH", str(tmp_path))
            monkeypatch.syspath_prepend(str(tmp_path))
            check_plugin(name)

        return check

    def test_a_good_one_passes(self, check: Callable[[str], None]) -> None:
        check(PLUGIN)

    @pytest.mark.parametrize(
        ("promise", "old", "new"),
        [
            ("does not import torch", "@hookimpl", "import torch\n@hookimpl"),
            ("can be imported", "@hookimpl", "import nothing_like_this\n@hookimpl"),
            ("marked with @hookimpl", "@hookimpl\n", ""),
            ("offers parts or weights", 'catalog.offer(DATASET, "mine", Settings, build)', "pass"),
            ("documented by the string below", '    """Size."""\n', ""),
            ("says what it sets", '    "Settings."\n', ""),
            ("is frozen", "class Settings(Options):", "class Settings(Options, frozen=False):"),
            ("forbids unknown keys", "class Settings(Options):", 'class Settings(Options, extra="allow"):'),
            ("derive from Options", "Settings, build", "dict, build"),
            ("says what it builds", '    "Build it."', "    pass"),
            (r"takes \(options\), not \(settings\)", "build(options)", "build(settings)"),
            ("name of a-z", '"mine"', '"My part"'),
            ("traits of .* known", "Settings, build)", "Settings, build, provides=['speed'])"),
            ("DECODER or ENCODER_DECODER", "catalog.offer(DATASET", "catalog.offer(LANGUAGE_MODEL"),
            (
                "lie inside the package",
                "(catalog):",
                "(catalog):\n    import pathlib\n    catalog.ship('w', pathlib.Path('no'))",
            ),
        ],
    )
    def test_broken_promises(self, promise: str, old: str, new: str, check: Callable[[str], None]) -> None:
        assert old in PLUGIN
        with pytest.raises(AssertionError, match=promise):
            check(PLUGIN.replace(old, new))
