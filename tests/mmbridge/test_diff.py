"""`mmbridge diff`: what it finds between two runs, and its exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from mmbridge.cli import build_app
from mmbridge.diff import diff

LOCK = {"config": "sha256 1", "seed": 0, "packages": {"torch": "2.11"}, "weights": {"tiny/opt": {"content": "a"}}}


def write(
    folder: Path, *, lr: float = 1e-4, lock: dict | None = None, loss: float = 1.0, r1: float | None = 0.5
) -> Path:
    folder.mkdir()
    config = {"run": {"name": folder.name, "seed": 0}, "stages": {"generation": {"optimizer": {"lr": lr}}}, "data": {}}
    (folder / "config.resolved.yaml").write_text(yaml.safe_dump(config))
    (folder / "run.lock.json").write_text(json.dumps(LOCK | (lock or {})))
    speed = len(folder.name)
    lines = [{"stage": "generation", "step": step, "loss": loss / step, "samples_per_second": speed} for step in (1, 2)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if r1 is not None:
        entry = {"value": r1, "chance": 0.1, "n": 10, "protocol": "", "step": 2}
        (folder / "evaluation.json").write_text(json.dumps({"generation/search/r1": entry}))
    return folder


def test_two_runs_of_one_config_are_the_same_however_quick(tmp_path: Path) -> None:
    found = diff(write(tmp_path / "a"), write(tmp_path / "bbb"))
    assert found.same and not found.config and not found.lock
    assert found.results["generation/loss"] == (0.5, 0.5)
    assert found.speed == {"generation/samples_per_second": (1, 3)}


def test_every_difference_has_its_section(tmp_path: Path) -> None:
    lock = {"config": "sha256 2", "packages": {"torch": "2.12"}, "weights": {}}
    found = diff(write(tmp_path / "a"), write(tmp_path / "b", lr=2e-4, lock=lock, loss=3.0, r1=None))
    assert found.config == {"stages.generation.optimizer.lr": (1e-4, 2e-4)}
    assert found.lock == {"packages.torch": ("2.11", "2.12"), "weights.tiny/opt.content": ("a", None)}
    assert found.results["generation/loss"] == (0.5, 1.5)
    assert found.results["generation/search/r1"] == (0.5, None)
    assert not found.same


@pytest.mark.parametrize(
    "change",
    [
        {"lr": 2e-4},
        {"lock": {"packages": {"torch": "3"}}},
        {"lock": {"evaluate": {"search": {"records": 9}}}},
        {"loss": 2.0},
        {"r1": 0.6},
    ],
)
def test_any_one_difference_is_one(tmp_path: Path, change: dict) -> None:
    assert not diff(write(tmp_path / "a"), write(tmp_path / "b", **change)).same


def call(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(build_app(), ["diff", *map(str, arguments)])
    return done.exit_code, done.output


def test_exit_codes_are_those_of_diff(tmp_path: Path) -> None:
    one, same, other = write(tmp_path / "a"), write(tmp_path / "b"), write(tmp_path / "c", lr=2e-4, r1=0.25)
    assert call(one, same)[0] == 0
    status, said = call(one, other)
    assert status == 1
    assert "stages.generation.optimizer.lr" in said and "0.0002" in said and "-0.25" in said and "different." in said
    status, said = call(one, other, "--json")
    assert status == 1 and json.loads(said)["config"] == {"stages.generation.optimizer.lr": [1e-4, 2e-4]}


def test_a_run_that_has_just_begun_can_be_compared(tmp_path: Path) -> None:
    one, begun = write(tmp_path / "a"), write(tmp_path / "b", r1=None)
    for name in ("metrics.jsonl", "run.lock.json"):
        (begun / name).unlink()
    assert diff(one, begun).results["generation/loss"] == (0.5, None)


def test_it_needs_no_torch_and_a_folder_that_is_no_run_is_said_so(tmp_path: Path) -> None:
    one = write(tmp_path / "a")
    code = (
        "import sys\nfrom mmbridge.cli import main\n"
        "try: main(sys.argv[1:])\nfinally: assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "diff", str(one), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert (
        done.returncode == 2
        and done.stderr == f"{tmp_path}: this is not a run directory. Give one that `mmbridge run` made.\n"
    )
