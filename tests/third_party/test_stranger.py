"""A plugin that knows nothing but the contract: it is found, listed and keeps every promise."""

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from mmbridge_registry import BRIDGE, LANGUAGE_MODEL, OBJECTIVE, VISION_ENCODER
from mmbridge_registry.discovery import Discovered, discover
from mmbridge_registry.testing import (
    check_bridge,
    check_language_model,
    check_objective,
    check_plugin,
    check_vision_encoder,
)
from third_party.installing import STRANGER, install

torch.set_num_threads(1)

KEYS = ((VISION_ENCODER, "stranger_conv"), (LANGUAGE_MODEL, "stranger_gru"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = install(STRANGER, tmp_path_factory.mktemp("site"))
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    yield folder
    sys.path.remove(str(folder))
    for name in [name for name in sys.modules if name.partition(".")[0] == "mmbridge_stranger"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def found(site: Path) -> Discovered:
    return discover()


def test_discovery_finds_it_beside_the_built_ins(found: Discovered) -> None:
    offer = found.catalog.find(VISION_ENCODER, "stranger_conv")
    assert (offer.plugin.distribution, offer.plugin.version) == ("mmbridge-stranger", "0.1.0")
    assert "clip_vit" in found.catalog.names(VISION_ENCODER)
    assert "stranger_gru" in found.catalog.names(LANGUAGE_MODEL)


def test_without_it_nothing_changes(monkeypatch: pytest.MonkeyPatch, site: Path) -> None:
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(site)])
    assert "stranger_conv" not in discover().catalog.names(VISION_ENCODER)


def test_it_uses_the_contract_only(site: Path) -> None:
    """With the framework made impossible to import, the plugin still builds and computes."""
    code = (
        "import sys; sys.modules['mmbridge'] = None\n"
        "import torch, mmbridge_stranger as s\n"
        "print(s.build_conv(s.ConvOptions())(torch.zeros(1, 3, 64, 64)).shape[1], s.build_gru(s.GruOptions()).width)"
    )
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    fresh = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    assert fresh.stdout.split() == ["64", "32"]


def test_the_package_keeps_the_contract(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(site))
    check_plugin("mmbridge_stranger")


def test_its_parts_keep_the_contract(found: Discovered) -> None:
    encoder, model = (found.catalog.find(*key) for key in KEYS)
    check_vision_encoder(encoder.build(encoder.options()))
    check_language_model(model.build(model.options()))


def test_its_parts_and_the_built_ins_fit_each_other(found: Discovered) -> None:
    encoder, model = (offer.build(offer.options()) for offer in (found.catalog.find(*key) for key in KEYS))
    mlp = found.catalog.find(BRIDGE, "mlp")
    bridge = mlp.build(mlp.options.model_validate({"queries": 4, "width": 16}), encoder_width=encoder.width)
    check_bridge(bridge, encoder.width, encoder.num_tokens)
    lm = found.catalog.find(OBJECTIVE, "lm")
    check_objective(lm.build(lm.options()), bridge, encoder.width, model)


STRANGE = """
model:
  vision_encoder: {name: stranger_conv, width: 16}
  bridge: {name: qformer, init: tiny/bert, queries: 4, contrastive_width: 16}
  language_model: {name: stranger_gru}
data:
  world: {name: tiny_world, size: 64}
stages:
  representation: {train: [bridge], objectives: {itc: {}, itg: {}, itm: {}}, steps: 2, batch_size: 4}
  generation: {train: [bridge, projection], objectives: {lm: {}}, steps: 2, batch_size: 4}
evaluate:
  captions: {name: tiny_world_captions, stages: [generation], data: {name: tiny_world, split: test, size: 4}}
run: {workers: 0, threads: 1, log_every: 1}
"""


@pytest.mark.slow
def test_a_yaml_trains_between_its_towers(tmp_path: Path) -> None:
    (tmp_path / "strange.yaml").write_text(STRANGE)
    site = install(STRANGER, tmp_path / "site")
    done = subprocess.run(
        [sys.executable, "-m", "mmbridge", "run", "strange.yaml"], cwd=tmp_path, check=False, timeout=300,
        env=os.environ | {"PYTHONPATH": str(site)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "attributes" in done.stdout
    lock = (tmp_path / "runs" / "strange" / "run.lock.json").read_text()
    assert "mmbridge_stranger" in lock or "mmbridge-stranger" in lock
