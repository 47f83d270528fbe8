"""Every block of the README does what it says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from mmbridge_registry import testing
from mmbridge_registry.discovery import discover

from mmbridge.config import shipped_configs

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
# A block, and the comment above it that says what a test does with it.
BLOCK = re.compile(r"(?:<!-- test: (?P<use>[^>]*) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)```", re.DOTALL)
BLOCKS = [(match["use"] or "", match["language"], match["text"]) for match in BLOCK.finditer(README)]


def blocks(language: str, use: str = "") -> list[tuple[str, str]]:
    return [(name, text) for name, of, text in BLOCKS if of == language and name.startswith(use)]


def commands() -> list[str]:
    lines = [line for _, text in blocks("console") for line in text.splitlines() if line.startswith("$ ")]
    return [line[2:].split("#")[0].strip() for line in lines]


def mmbridge(*arguments: str, where: Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ | ({"PYTHONPATH": str(path)} if path else {})
    return subprocess.run(
        [sys.executable, "-m", "mmbridge", *arguments],
        cwd=where, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder with the README's own config."""
    ((use, text),) = blocks("yaml")
    (tmp_path / use.removeprefix("validate as ")).write_text(text)
    return tmp_path


def test_make_commands_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    asked = [command.split()[1] for command in commands() if command.startswith("make ")]
    assert asked == ["demo", "test"]
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in asked)


def test_the_config_is_valid_and_can_be_planned(folder: Path) -> None:
    done = mmbridge("validate", "my_blip2.yaml", where=folder)
    assert done.returncode == 0, done.stderr
    done = mmbridge("plan", "my_blip2.yaml", "--json", where=folder)
    assert '"trainable_parameters": 186705470' in done.stdout, done.stderr


def test_every_command_line_is_understood(folder: Path) -> None:
    for command in commands():
        words = command.split()
        if words[0] == "mmbridge":
            done = mmbridge(words[1], "--help", where=folder)
            assert done.returncode == 0, command
        if words[:2] == ["mmbridge", "run"]:  # nothing was fetched here: the run says so, and what to do
            done = mmbridge(*words[1:], where=folder)
            assert done.returncode == 2 and "mmbridge fetch" in done.stderr and not (folder / "runs").exists()


def test_shipped_configs_are_all_named() -> None:
    named = set(re.findall(r"`(blip2_[\w.]+)`", README))
    assert set(shipped_configs()) <= named


def test_python_blocks_that_stand_alone_compile() -> None:
    for _, text in blocks("python"):
        compile(text, "README.md", "exec")


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    """The README's plugin, installed by a folder on the path."""
    site = tmp_path / "site"
    for use, text in blocks("python", "file "):
        file = site / use.removeprefix("file ")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    ((_, entry_point),) = blocks("toml")
    metadata = site / "mmbridge_grid-0.1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: mmbridge-grid\nVersion: 0.1\n")
    group = entry_point.replace("[project.entry-points.mmbridge]", "[mmbridge]").replace('"', "")
    (metadata / "entry_points.txt").write_text(group)
    return site


def test_the_plugin_keeps_the_contract(grid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(grid)
    from mmbridge_grid import GridOptions, build_grid  # pyright: ignore[reportMissingImports]

    testing.check_vision_encoder(build_grid(GridOptions(cells=4)))
    assert "colour_grid" in {offer.name for offer in discover().catalog.offers()}


@pytest.mark.slow
def test_the_plugin_runs_and_the_model_is_used_as_the_readme_says(grid: Path, tmp_path: Path) -> None:
    overrides = (
        "model.vision_encoder={name: colour_grid, cells: 4}", "~evaluate", "run.threads=1", "run.workers=0",
        "stages.representation.steps=2", "stages.generation.steps=2", "stages.representation.batch_size=4",
        "stages.generation.batch_size=4",
    )  # fmt: skip
    done = mmbridge("run", "blip2_tiny", *overrides, where=tmp_path, path=grid)
    assert done.returncode == 0, done.stderr
    from PIL import Image

    for name in ("photo", "a", "b"):
        Image.new("RGB", (64, 64), "red").save(tmp_path / f"{name}.png")
    ((_, use),) = [block for block in blocks("python") if "mmbridge.load" in block[1]]
    (tmp_path / "use.py").write_text(use + "\nprint(type(model).__name__)\n")
    done = subprocess.run(
        [sys.executable, "use.py"], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(grid)},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and "Model" in done.stdout, done.stderr


def test_links_of_the_readme_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
