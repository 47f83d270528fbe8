"""The configs that ship: each reads, each is what the paper says, and no slip in them goes unnoticed."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from mmbridge_registry.discovery import Discovered, discover

from mmbridge.config import ConfigError, as_yaml, base_of, load_recipe, shipped_configs

SHIPPED = shipped_configs()
PAPER = {
    # vision encoder, language model, batch sizes of the two stages (BLIP-2, section 3.3)
    "blip2_flant5xl": ("eva_vit_g", "google/flan-t5-xl", 1680, 1520),
    "blip2_flant5xxl": ("eva_vit_g", "google/flan-t5-xxl", 1680, 1520),
    "blip2_opt2.7b": ("eva_vit_g", "facebook/opt-2.7b", 1680, 1920),
    "blip2_opt6.7b": ("eva_vit_g", "facebook/opt-6.7b", 1680, 1920),
    "blip2_vitl_flant5xl": ("clip_vit", "google/flan-t5-xl", 2320, 1520),
    "blip2_vitl_opt2.7b": ("clip_vit", "facebook/opt-2.7b", 2320, 1920),
}


@pytest.fixture(scope="module")
def found() -> Discovered:
    return discover()


@pytest.mark.parametrize("name", SHIPPED)
def test_what_show_prints_is_the_same_recipe(name: str, found: Discovered, tmp_path: Path) -> None:
    recipe = load_recipe(SHIPPED[name], [], found)
    shown = tmp_path / "shown.yaml"
    shown.write_text(as_yaml(recipe.resolved))
    assert load_recipe(shown, [], found).resolved == recipe.resolved


@pytest.mark.parametrize("name", PAPER)
def test_the_recipe_of_the_paper(name: str, found: Discovered) -> None:
    encoder, language_model, *batches = PAPER[name]
    recipe = load_recipe(name, [], found)
    assert recipe.model.language_model is not None
    assert recipe.model.vision_encoder.offer.name == encoder
    assert recipe.model.language_model.options.model_dump()["weights"] == language_model
    first, second = recipe.stages.values()
    assert [first.batch_size, second.batch_size] == batches
    assert [first.steps, second.steps] == [250_000, 80_000]
    assert [first.schedule.min_lr, second.schedule.min_lr] == [1e-5, 5e-5]
    for stage in (first, second):
        assert (stage.optimizer.lr, stage.optimizer.betas, stage.optimizer.weight_decay) == (1e-4, (0.9, 0.98), 0.05)
        assert stage.schedule.warmup_steps == 2000
    assert first.train == ("bridge",)
    assert second.train == ("bridge", "projection")
    assert set(first.objectives) == {"itc", "itg", "itm"}
    assert len(recipe.data) == 6


@pytest.mark.parametrize("name", PAPER)
def test_random_weights_keep_the_geometry(name: str, found: Discovered) -> None:
    overrides = [f"model.{part}=random" for part in ("vision_encoder.weights", "language_model.weights", "bridge.init")]
    recipe = load_recipe(name, overrides, found)
    assert recipe.model.language_model is not None
    architecture = recipe.model.language_model.options.model_dump()["architecture"]
    assert architecture == PAPER[name][1].partition("/")[2]


def test_paths_of_coco_carry_to_its_evaluation(found: Discovered) -> None:
    recipe = load_recipe("blip2_opt2.7b", ["data.coco.images=/mnt/coco"], found)
    assert recipe.evaluate["retrieval"].dataset.options.model_dump(mode="json")["images"] == "/mnt/coco"


class Slip(NamedTuple):
    """A key too many: the text with it, its line and path, and the key that was meant."""

    text: str
    line: int
    path: str
    meant: str


def slips(text: str) -> Iterator[Slip]:
    """Give the text once per mapping in it, each time with a misspelt twin of that mapping's first key."""
    for node, path in _mappings(yaml.compose(text), ()):
        if not node.value:
            continue
        first = node.value[0][0]
        twin, at = f"{first.value}z", first.start_mark
        space = ", " if node.flow_style else "\n" + " " * at.column
        new = f"{text[: at.index]}{twin}: {{}}{space}{text[at.index :]}"
        yield Slip(new, at.line + 1, ".".join((*path, twin)), first.value)


def _mappings(node: yaml.Node, path: tuple[str, ...]) -> Iterator[tuple[yaml.MappingNode, tuple[str, ...]]]:
    if isinstance(node, yaml.MappingNode):
        yield node, path
        for key, value in node.value:
            yield from _mappings(value, (*path, key.value))


def _is_named_by_users(path: str) -> bool:
    keys = path.split(".")
    in_collection = len(keys) == 2 and keys[0] in ("data", "stages", "evaluate")
    return in_collection or keys[-2:-1] == ["objectives"] or (keys[0] == "stages" and keys[-2:-1] == ["data"])


@pytest.mark.parametrize("name", ["blip2_opt2.7b", "blip2_tiny"])
def test_a_slip_at_any_depth_is_found_at_its_line(name: str, found: Discovered, tmp_path: Path) -> None:
    base = base_of(SHIPPED[name])
    assert base is not None
    (tmp_path / "base").mkdir()
    config, below = tmp_path / "config.yaml", tmp_path / "base" / base.name
    count = 0
    for file, source in ((config, SHIPPED[name]), (below, base)):
        config.write_text(SHIPPED[name].read_text())
        below.write_text(base.read_text())
        for slip in slips(source.read_text()):
            file.write_text(slip.text)
            with pytest.raises(ConfigError) as caught:
                load_recipe(config, [], found)
            place = f"{file}:{slip.line}: {slip.path}"
            line = next(line for line in str(caught.value).splitlines() if line.startswith(place))
            assert _is_named_by_users(slip.path) or f"did you mean '{slip.meant}'?" in line
            count += 1
    assert count > 15
