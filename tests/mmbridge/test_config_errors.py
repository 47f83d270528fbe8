"""Every mistake: file, line, key path, who is at fault, what was meant."""

from pathlib import Path

import pytest
from mmbridge_registry import UserError
from mmbridge_registry.discovery import Broken, discover
from toys.parts import CONFIG, STUB, discovered

from mmbridge.config import ConfigError, load_recipe

STUB_SAYS = "of plugin 'stub' (stub-parts 1.2)"


def mistakes(tmp_path: Path, old: str = "", new: str = "", *overrides: str) -> list[str]:
    assert old in CONFIG
    path = tmp_path / "c.yaml"
    path.write_text(CONFIG.replace(old, new, 1) if old else CONFIG)
    with pytest.raises(UserError) as caught:
        load_recipe(path, overrides, discovered())
    return str(caught.value).replace(f"{tmp_path}/", "").splitlines()


@pytest.mark.parametrize(
    ("old", "new", "where", "says"),
    [
        ("model:", "modle:", "c.yaml:2: modle", "did you mean 'model'?"),
        ("bridge: {", "brigde: {", "c.yaml:4: model.brigde", "did you mean 'bridge'?"),
        ("queries: 4", "querys: 4", "c.yaml:4: model.bridge.querys", f"bridge 'textual' {STUB_SAYS} has no option"),
        ("queries: 4", "querys: 4", "c.yaml:4: model.bridge.querys", "did you mean 'queries'?"),
        ("name: eye", "name: eyes", "c.yaml:3: model.vision_encoder.name", "did you mean 'eye'?"),
        ("name: eye", "name: textual", "c.yaml:3: model.vision_encoder.name", "'textual' is a bridge."),
        ("name: eye, ", "", "c.yaml:3: model.vision_encoder", "needs a name. Write {name: ...}; known: eye."),
        ("name: eye", "name: 3", "c.yaml:3: model.vision_encoder", "needs a name"),
        ("    weights: random\n", "", "c.yaml:5: model.language_model.weights", "needs 'weights'"),
        ("queries: 4", "queries: four", "c.yaml:4: model.bridge.queries", "valid integer (got 'four')"),
        ("queries: 4", "queries: 4.0", "c.yaml:4: model.bridge.queries", "valid integer (got 4.0)"),
        ("queries: 4", "queries: true", "c.yaml:4: model.bridge.queries", "valid integer (got True)"),
        ("queries: 4", "queries: '4'", "c.yaml:4: model.bridge.queries", "valid integer (got '4')"),
        ("queries: 4", "queries: 0", "c.yaml:4: model.bridge.queries", "greater than or equal to 1 (got 0)"),
        ("queries: 4", "queries: 7", "c.yaml:4: model.bridge.queries", "seven is right out (got 7)"),
        ("queries: 4", "queries: 13", "c.yaml:4: model.bridge", "failed to check its options: RuntimeError"),
        ("width: 6", "crop: [0.5, x]", "c.yaml:3: model.vision_encoder.crop.1", "valid number (got 'x')"),
        ("width: 6", "crop: [0.5]", "c.yaml:3: model.vision_encoder.crop.1", "needs '1'"),
        ("{smoothing: 0.1}", "{smothing: 0.1}", "c.yaml:14: stages.representation.objectives.itc.smothing", "'smooth"),
        ("itc: {smoothing", "itx: {smoothing", "c.yaml:14: stages.representation.objectives.itx", "did you mean 'it"),
        ("{lr: 1e-4}", "{lrr: 1e-4}", "c.yaml:17: stages.representation.optimizer.lrr", "did you mean 'lr'?"),
        ("{lr: 1e-4}", "{lr: 0}", "c.yaml:17: stages.representation.optimizer.lr", "greater than 0"),
        ("{lr: 1e-4}", "{name: sgd}", "c.yaml:17: stages.representation.optimizer.name", "'adamw'"),
        ("    steps: 10\n", "    stesp: 10\n", "c.yaml:15: stages.representation.stesp", "did you mean 'steps'?"),
        ("    steps: 10\n", "", "c.yaml:12: stages.representation.steps", "a stage needs 'steps'"),
        ("[bridge]", "[brige]", "c.yaml:13: stages.representation.train.0", "'bridge'"),
        ("    train: [bridge]\n", "", "c.yaml:12: stages.representation.train", "a stage needs 'train'"),
        ("      prefix_lm:\n", "", "c.yaml:20: stages.generation.objectives", "at least one objective"),
        ("weight: 3", "wieght: 3", "c.yaml:9: data.pairs.wieght", "did you mean 'weight'?"),
        ("weight: 3", "weight: 0", "c.yaml:9: data.pairs.weight", "greater than 0"),
        ("stages: [gen", "stage: [gen", "c.yaml:28: evaluate.captions.stages", "an evaluation needs 'stages'"),
        ("every: 5", "every: 0", "c.yaml:28: evaluate.captions.every", "greater than 0"),
        ("every: 5, data:", "evry: 5, data:", "c.yaml:28: evaluate.captions.evry", "did you mean 'every'?"),
        ("every: 5, data: {name: pairs, path: test.csv}", "every: 5", "c.yaml:28: evaluate.captions.data", "needs 'da"),
        ("every: 5", "generation: {beans: 5}", "c.yaml:28: evaluate.captions.generation.beans", "did you mean 'beams'"),
        ("every: 5", "either: [1]", "c.yaml:28: evaluate.captions.either", "integer (got [1]). Or: "),
        ("{seed: 3}", "[seed]", "c.yaml:29: run", "expected a mapping"),
        ("{seed: 3}", "{name: ../x}", "c.yaml:29: run.name", "pattern"),
        ("  generation:", "  gen.eration:", "c.yaml:18: stages.gen.eration", "cannot be a name"),
    ],
)
def test_what_where_and_what_was_meant(tmp_path: Path, old: str, new: str, where: str, says: str) -> None:
    lines = mistakes(tmp_path, old, new)
    assert any(line.startswith(f"{where}: ") and says in line for line in lines), lines


@pytest.mark.parametrize("section", ["model", "data", "stages"])
def test_a_missing_section(tmp_path: Path, section: str) -> None:
    lines = mistakes(tmp_path, "", "", f"~{section}")
    assert f"command line: {section}: a config needs the section '{section}'." in lines
    lines = mistakes(tmp_path, f"{section}:\n", "other:\n")
    assert f"c.yaml:2: {section}: a config needs the section '{section}'." in lines


def test_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("# nothing\n")
    with pytest.raises(ConfigError, match="needs the section 'model'"):
        load_recipe(path, [], discovered())


def test_all_mistakes_at_once_one_line_each(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(CONFIG.replace("queries: 4", "querys: 4").replace("steps: 10", "steps: x").replace("seed", "sed"))
    with pytest.raises(ConfigError) as caught:
        load_recipe(path, ["data.pairs.pth=3"], discovered())
    lines = str(caught.value).splitlines()
    assert len(lines) == len(caught.value.mistakes) == 4
    assert sum(line.startswith(str(path)) for line in lines) == 3
    assert sum(line.startswith("command line: data.pairs.pth: ") for line in lines) == 1


def test_more_than_ten_are_counted(tmp_path: Path) -> None:
    lines = mistakes(tmp_path, "{seed: 3}", "{" + ", ".join(f"x{i}: 1" for i in range(25)) + "}")
    assert len(lines) == 11
    assert lines[-1] == "... and 15 more mistakes."


def test_a_broken_plugin_is_named_where_its_part_is_missed(tmp_path: Path) -> None:
    found = discovered()
    found.broken.append(Broken(STUB, "ImportError: no module named 'left_pad'"))
    path = tmp_path / "c.yaml"
    path.write_text(CONFIG)
    load_recipe(path, [], found)
    with pytest.raises(
        ConfigError, match=r"no bridge 'fancy'.*plugin 'stub' \(stub-parts 1.2\) could not be.*left_pad"
    ):
        load_recipe(path, ["model.bridge.name=fancy"], found)


def test_two_plugins_that_offer_one_name(tmp_path: Path) -> None:
    from toys.parts import BridgeOptions, build_bridge

    found = discovered()
    from mmbridge_registry import BRIDGE

    found.catalog.offer(BRIDGE, "textual", BridgeOptions, build_bridge)
    path = tmp_path / "c.yaml"
    path.write_text(CONFIG)
    with pytest.raises(ConfigError, match=r"offered by plugin 'stub'.* and by plugin"):
        load_recipe(path, [], found)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read"):
        load_recipe(path, [], discovered())


@pytest.mark.parametrize(
    ("metric", "says"),
    [
        ("retreival/x", "no evaluation 'retreival'; did you mean"),
        ("retrieval", "'retrieval' names no metric"),
    ],
)
def test_the_best_is_said_by_an_evaluation(metric: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load_recipe("blip2_tiny_opt", [f"run.keep_best={metric}"], discover())
