"""Plan: exact counts, without a tensor."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mmbridge_registry import UserError
from mmbridge_registry.discovery import discover
from torch import nn
from toys.parts import CONFIG, discovered

from mmbridge.config import load_recipe
from mmbridge.plan import plan
from mmbridge.trainable import trainable_parameters


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "c.yaml"
    path.write_text(CONFIG)
    return path


def test_counts_by_hand(config: Path) -> None:
    found = discovered()
    result = plan(load_recipe(config, [], found), found.catalog)
    eye, queries, features, head = 6 * 3 + 6, 4 * 5, 6 * 5 + 5, 5 * 2 + 2
    projection, tower = 5 * 7 + 7, 11 * 7
    everything = eye + queries + features + head + projection + tower
    assert result.parts["bridge"].parameters == queries + features + head
    assert result.parts["bridge"].bytes == 4 * (queries + features + head)
    first, second = result.stages["representation"], result.stages["generation"]
    assert first.trainable == {"bridge": queries + features + head}
    assert second.trainable == {"bridge": queries + features, "projection": projection}
    for stage in (first, second):
        assert stage.trainable_parameters + stage.frozen_parameters == everything
        assert stage.bytes == 4 * everything + 12 * stage.trainable_parameters
    assert (second.steps, second.batch_size, second.samples) == (20, 4, 80)
    assert json.loads(json.dumps(result.as_dict()))["stages"]["generation"]["trainable_parameters"] == 97


def test_weights_that_are_not_here_do_not_matter(config: Path) -> None:
    found = discovered()
    recipe = load_recipe(config, ["model.vision_encoder.weights=a/b", "model.language_model.weights=c/d"], found)
    assert plan(recipe, found.catalog) == plan(load_recipe(config, [], found), found.catalog)


def test_weights_that_are_here_bring_their_geometry(config: Path, tmp_path: Path) -> None:
    found, given = discovered(), []
    offer = found.catalog.offers()[0]
    found.catalog._offers[offer.kind, offer.name] = [
        replace(offer, build=lambda options: given.append(options.weights) or offer.build(options))
    ]
    plan(load_recipe(config, [f"model.vision_encoder.weights={tmp_path}"], found), found.catalog)
    assert given == [str(tmp_path)]


def test_a_part_that_cannot_be_built_is_placed(config: Path) -> None:
    found = discovered()
    recipe = load_recipe(config, ["model.language_model.weights=c/d"], found)
    assert recipe.model.language_model is not None

    def build(options: object) -> None:
        raise UserError("no geometry.")

    object.__setattr__(recipe.model.language_model.offer, "build", build)
    with pytest.raises(
        UserError, match=r"c.yaml:5: model.language_model: no geometry. Weights c/d are not here: name an"
    ):
        plan(recipe, found.catalog)


def test_which_parameters_a_stage_trains() -> None:
    parts: dict[str, nn.Module] = {"vision_encoder": nn.Linear(2, 2), "projection": nn.Linear(2, 3, bias=False)}
    assert set(trainable_parameters(parts, ["projection"], frozenset())) == {"projection.weight"}
    both = trainable_parameters(parts, ["projection", "vision_encoder"], frozenset())
    assert list(both) == ["vision_encoder.weight", "vision_encoder.bias", "projection.weight"]
    assert both["projection.weight"] is parts["projection"].weight
    assert trainable_parameters(parts, ["bridge"], frozenset()) == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("blip2_opt2.7b", 186_705_470, 107_133_696),
        ("blip2_opt6.7b", 186_705_470, 108_314_880),
        ("blip2_flant5xl", 186_705_470, 106_739_968),
        ("blip2_flant5xxl", 186_705_470, 108_314_880),
        ("blip2_vitl_opt2.7b", 186_705_470 - 3_539_712, 107_133_696 - 3_539_712),
        ("blip2_vitl_flant5xl", 186_705_470 - 3_539_712, 106_739_968 - 3_539_712),
    ],
)
def test_the_counts_of_the_paper(name: str, first: int, second: int) -> None:
    """Equal to public training logs of the original (ViT-g stage 1, OPT-2.7B stage 2); the others by arithmetic."""
    torch.set_num_threads(1)
    found = discover()
    random = ["model.vision_encoder.weights=random", "model.language_model.weights=random"]
    for overrides in ([], random):
        stages = plan(load_recipe(name, overrides, found), found.catalog).stages
        assert stages["representation"].trainable_parameters == first
        assert stages["generation"].trainable_parameters == second
