"""Overrides of the command line."""

from itertools import permutations
from pathlib import Path

import pytest
from mmbridge_registry import UserError
from toys.parts import CONFIG, discovered

from mmbridge.config import load_recipe
from mmbridge.recipe import Recipe


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "c.yaml"
    path.write_text(CONFIG)
    return path


def load(config: Path, *overrides: str) -> Recipe:
    return load_recipe(config, overrides, discovered())


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("stages.generation.optimizer.lr=1e-3", 1e-3),
        ("stages.generation.optimizer={lr: 1e-3}", 1e-3),
        ("stages.generation={optimizer: {lr: 1e-3}}", 1e-3),
        ("stages.generation.optimizer.lr = 0.25", 0.25),
    ],
)
def test_values_are_yaml_and_merge(config: Path, override: str, value: float) -> None:
    stage = load(config, override).stages["generation"]
    assert stage.optimizer.lr == value
    assert stage.batch_size == 4


def test_text_with_equal_signs_quotes_and_nothing(config: Path) -> None:
    assert load(config, "data.pairs.path=a=b").data["pairs"].dataset.options.model_dump() == {"path": "a=b"}
    assert load(config, "data.pairs.path='12'").data["pairs"].dataset.options.model_dump() == {"path": "12"}
    assert load(config, "stages.generation.micro_batch_size=null").stages["generation"].micro_batch_size is None
    assert load(config, "stages.generation.micro_batch_size=").stages["generation"].micro_batch_size is None


def test_removal(config: Path) -> None:
    recipe = load(config, "~stages.representation", "~evaluate.recall")
    assert list(recipe.stages) == ["generation"]
    assert load(config, "~stages.generation.micro_batch_size").stages["generation"].micro_batch_size is None


def test_order_does_not_matter(config: Path) -> None:
    given = [
        "model.language_model.name=gpt",
        "model.language_model.weights=somewhere",
        "~stages.generation.objectives",
        "stages.generation.objectives={lm: {}}",
    ]
    recipes = [load(config, *order).resolved for order in permutations(given)]
    assert all(recipe == recipes[0] for recipe in recipes)
    assert recipes[0]["model"]["language_model"]["weights"] == "somewhere"
    assert list(recipes[0]["stages"]["generation"]["objectives"]) == ["lm"]


def test_the_same_key_twice_the_later_wins(config: Path) -> None:
    assert load(config, "run.seed=1", "run.seed=2").run.seed == 2


def test_a_new_entry_given_whole(config: Path) -> None:
    recipe = load(config, "data.third={name: pairs, path: t.csv}", "data.third.weight=9")
    assert recipe.data["third"].weight == 9


def test_a_run_that_is_renamed_keeps_its_settings(config: Path) -> None:
    assert load(config, "run.name=other").run.seed == 3


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("stages.generatoin.steps=3", "there is no 'stages.generatoin'; did you mean 'generation'?"),
        ("stages.generation.objectives.itc.smoothing=0", "To add it, give it whole"),
        ("data.pair.weight=1", "did you mean 'pairs'?"),
        ("~stages.generatoin", "did you mean 'generation'?"),
        ("~stages.generation.step", "did you mean 'steps'?"),
        ("~run.seed.deep", "there is no 'run.seed.deep'"),
        ("stages.generation.train[0]=bridge", "an item of a list cannot be overridden"),
        ("stages.generation.train.0=bridge", "an item of a list cannot be overridden"),
        ("~stages.generation.train.0", "an item of a list cannot be overridden"),
        ("--steps", "is no override"),
        ("=3", "empty key"),
        ("run..seed=3", "empty key"),
        ("run.seed={", "not valid YAML"),
        ("run.seed=!!python/name:os.system", "tags are refused"),
        ("run.seed=010", "another number"),
        ("run.seed={a: 1, a: 2}", "stands twice"),
        ("base=other.yaml", "base cannot be overridden"),
        ("run.sed=3", "did you mean 'seed'?"),
        ("run.seed.x=3", "'run.seed' is 3; it has no keys."),
        ("stages.generation.train=bridge", "valid array"),
    ],
)
def test_refusals_name_the_command_line(config: Path, override: str, says: str) -> None:
    with pytest.raises(UserError) as caught:
        load(config, override)
    assert says in str(caught.value)
    assert str(caught.value).startswith("command line")
    assert "\n" not in str(caught.value)
