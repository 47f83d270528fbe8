"""Reading a config: base, overrides, interpolation, defaults, and the recipe that comes out."""

from pathlib import Path

import pytest
from mmbridge_registry import UserError
from toys.parts import CONFIG, STUB, discovered

from mmbridge.config import as_yaml, load_recipe, read_yaml
from mmbridge.recipe import Recipe


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "little.yaml"
    path.write_text(CONFIG)
    return path


def load(path: Path, *overrides: str) -> Recipe:
    return load_recipe(path, overrides, discovered())


def refused(path: Path, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        load(path, *overrides)
    return str(caught.value)


def test_the_recipe_holds_what_the_file_says(config: Path) -> None:
    recipe = load(config)
    assert recipe.source == config
    assert recipe.model.bridge.offer.name == "textual"
    assert recipe.model.bridge.offer.plugin == STUB
    assert recipe.model.bridge.options.model_dump() == {"queries": 4, "init": None}
    assert list(recipe.stages) == ["representation", "generation"]
    stage = recipe.stages["representation"]
    assert stage.train == ("bridge",)
    assert stage.optimizer.lr == 1e-4
    assert stage.optimizer.betas == (0.9, 0.98)
    assert list(stage.objectives) == ["itc", "itm"]
    assert recipe.stages["generation"].data == {"pairs": 1, "more": 0.5}
    assert {name: data.weight for name, data in recipe.data.items()} == {"pairs": 3, "more": 1}
    assert recipe.data["more"].dataset.options.model_dump() == {"path": "more.csv"}
    assert recipe.evaluate["captions"].every == 5
    assert recipe.evaluate["recall"].stages == ("representation",)
    assert recipe.run.seed == 3
    assert recipe.run.name == "little"


def test_a_part_knows_its_place(config: Path) -> None:
    recipe = load(config, "model.bridge.queries=2")
    assert recipe.model.language_model is not None
    assert recipe.model.language_model.where == f"{config}:5: model.language_model"
    assert recipe.stages["generation"].objectives["prefix_lm"].where.startswith(f"{config}:21: ")
    assert recipe.evaluate["recall"].dataset.where == f"{config}:27: evaluate.recall.data"


def test_resolved_reads_as_the_same_recipe(config: Path, tmp_path: Path) -> None:
    first = load(config, "stages.generation.optimizer.lr=3e-7", "run.name=little")
    again = tmp_path / "again.yaml"
    again.write_text(as_yaml(first.resolved))
    assert load(again).resolved == first.resolved
    assert read_yaml(again) == first.resolved
    assert first.resolved["model"]["vision_encoder"]["crop"] == [0.5, 1.0]
    assert first.resolved["stages"]["generation"]["optimizer"]["lr"] == 3e-7


def test_secrets_are_masked_and_counts_of_tokens_are_not(config: Path) -> None:
    recipe = load(config, "model.language_model.api_token=hunter2")
    assert "hunter2" not in as_yaml(recipe.resolved)
    assert recipe.model.language_model is not None
    assert recipe.model.language_model.options.model_dump()["api_token"] == "hunter2"
    assert recipe.resolved["model"]["language_model"]["max_new_tokens"] == 30


class TestBase:
    def write(self, tmp_path: Path, text: str) -> Path:
        (tmp_path / "base").mkdir()
        (tmp_path / "base" / "foundation.yaml").write_text(CONFIG)
        path = tmp_path / "child.yaml"
        path.write_text(f"base: base/foundation.yaml\n{text}")
        return path

    def test_later_wins_key_by_key_and_lists_are_replaced(self, tmp_path: Path) -> None:
        child = self.write(tmp_path, "stages: {generation: {train: [projection], optimizer: {lr: 1e-3}}}\n")
        stage = load(child).stages["generation"]
        assert stage.train == ("projection",)
        assert (stage.optimizer.lr, stage.steps) == (1e-3, 20)

    def test_another_part_does_not_inherit_options(self, tmp_path: Path) -> None:
        child = self.write(tmp_path, "model: {language_model: {name: gpt, weights: random}}\n")
        recipe = load(child, "stages.generation.objectives={lm: {}}", "~stages.generation.objectives.prefix_lm")
        assert recipe.model.language_model is not None
        assert recipe.model.language_model.offer.name == "gpt"
        assert "lacks" not in recipe.resolved["model"]["language_model"]
        assert list(recipe.stages["generation"].objectives) == ["lm"]

    def test_another_dataset_keeps_its_weight(self, tmp_path: Path) -> None:
        found = discovered()
        found.catalog.offer(*_other_dataset())
        child = self.write(tmp_path, "data: {pairs: {name: other}}\n")
        data = load_recipe(child, [], found).data["pairs"]
        assert data.weight == 3
        assert data.dataset.offer.name == "other"

    def test_mistakes_are_placed_in_the_file_that_holds_them(self, tmp_path: Path) -> None:
        child = self.write(tmp_path, "run: {sed: 1}\n")
        base = tmp_path / "base" / "foundation.yaml"
        base.write_text(CONFIG.replace("width: 6", "widht: 6"))
        message = refused(child)
        assert f"{base}:3: model.vision_encoder.widht" in message
        assert f"{child}:2: run.sed" in message

    def test_one_level_only(self, tmp_path: Path) -> None:
        child = self.write(tmp_path, "")
        base = tmp_path / "base" / "foundation.yaml"
        base.write_text(f"base: other.yaml\n{CONFIG}")
        assert refused(child).startswith(f"{base}:1: base: a base file cannot have a base itself.")

    def test_a_base_that_is_not_there(self, tmp_path: Path) -> None:
        path = tmp_path / "child.yaml"
        path.write_text("run: {}\nbase: nowhere.yaml\n")
        assert refused(path).startswith(f"{path}:2: base: there is no base file 'nowhere.yaml'.")


class TestInterpolation:
    def test_another_key(self, config: Path) -> None:
        recipe = load(config, "stages.generation.batch_size=${stages.representation.batch_size}")
        assert recipe.stages["generation"].batch_size == 8
        assert recipe.resolved["stages"]["generation"]["batch_size"] == 8

    def test_a_whole_mapping(self, config: Path) -> None:
        recipe = load(config, "evaluate.recall.data=${evaluate.captions.data}", "evaluate.captions.data.path=x.csv")
        assert recipe.evaluate["recall"].dataset.options.model_dump() == {"path": "x.csv"}

    @pytest.mark.parametrize(
        "text", ["${oc.env:HOME}", "${oc.${run.name}:HOME}", "a ${now:%H} b", "${oc.decode:'1'}", "${stages.${x}.y}"]
    )
    def test_everything_else_is_refused(self, config: Path, text: str) -> None:
        message = refused(config, f'data.pairs.path="{text}"')
        assert message.startswith("command line: data.pairs.path: ")
        assert "refused" in message

    @pytest.mark.parametrize("text", ["${no.such.key}", "${data.pairs.path}"])
    def test_nowhere_and_in_circles(self, config: Path, text: str) -> None:
        assert refused(config, f"data.pairs.path={text}").startswith("command line: data.pairs.path: cannot resolve")

    def test_a_mapping_that_holds_itself(self, config: Path) -> None:
        assert "cannot resolve" in refused(config, "data.pairs.path={a: '${data.pairs}'}")

    def test_bomb_of_references(self, config: Path) -> None:
        lines = [f"x{i}: [" + f"'${{x{i - 1}}}', " * 10 + "]" for i in range(1, 9)]
        config.write_text("\n".join(["x0: [1]", *lines]))
        assert "without end" in refused(config)


def test_missing_config_is_named_with_the_nearest_shipped_one() -> None:
    assert "did you mean 'blip2_tiny'?" in refused(Path("blip2_tinny"))


def test_a_path_beside_the_config_moves_with_it(tmp_path: Path) -> None:
    for home in (tmp_path / "here", tmp_path / "there"):
        home.mkdir()
        (home / "own.yaml").write_text(CONFIG.replace("queries: 4", "queries: 4, init: ./weights/bridge"))
        assert load(home / "own.yaml").model.bridge.options.init == str(home / "weights/bridge")
    # Who types a path means the folder in which they stand.
    assert load(home / "own.yaml", "model.bridge.init=./mine").model.bridge.options.init == "./mine"


def test_a_model_alone_is_a_config_that_can_be_loaded_but_not_half_a_run(tmp_path: Path) -> None:
    (tmp_path / "whole.yaml").write_text(CONFIG)
    values = read_yaml(tmp_path / "whole.yaml")
    alone = tmp_path / "alone.yaml"
    alone.write_text(as_yaml({"model": values["model"]}))
    assert load(alone).stages == {}
    assert load(alone).stage_names == ["imported"]
    alone.write_text(as_yaml({"model": values["model"], "data": values["data"]}))
    assert "needs the section 'stages'" in refused(alone)


def test_shipped_configs_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mmbridge.config import find_config

    monkeypatch.chdir(tmp_path)
    by_name = find_config("blip2_tiny")
    assert by_name.is_file()
    assert find_config("configs/blip2_tiny.yaml") == find_config("blip2_tiny.yaml") == by_name
    (tmp_path / "configs").mkdir()
    own = tmp_path / "configs" / "blip2_tiny.yaml"
    own.write_text(CONFIG)
    assert find_config("configs/blip2_tiny.yaml").resolve() == own.resolve()


def _other_dataset():
    from mmbridge_registry import DATASET, Options

    class Other(Options):
        """Other."""

    return DATASET, "other", Other, None
