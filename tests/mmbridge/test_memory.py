"""Memory: what is foretold from shapes is what a step takes, by torch's own profiler; forgetting changes nothing."""

from pathlib import Path

import pytest
import torch
from mmbridge_registry import Batch
from mmbridge_registry.discovery import discover
from torch.profiler import ProfilerActivity, profile
from toys.parts import CONFIG, discovered
from toys.placed import one_step, recipe_of

from mmbridge.assemble import assemble, prepare_stage
from mmbridge.collectives import Collectives
from mmbridge.config import load_recipe
from mmbridge.engine import Engine
from mmbridge.live_bytes import LiveBytes
from mmbridge.memory import foretell
from mmbridge.micro_batches import backward
from mmbridge.model import StageModel
from mmbridge.outline import outline
from mmbridge.recipe import Recipe
from mmbridge.recomputing import recompute_blocks
from mmbridge.rehearsal import Rehearsal, _quadratic

SMALL = ("run.device=cpu", "stages.representation.batch_size=8", "stages.generation.batch_size=8")


def measured(recipe: Recipe, stage_name: str, rehearsal: Rehearsal) -> int:
    """Give the most that torch's allocator holds in a step on real tensors, as its profiler tells it."""
    found, stage = discover(), recipe.stages[stage_name]
    model = assemble(recipe, found.catalog)
    if recipe.run.checkpoint_activations:
        recompute_blocks(model)
    objectives = prepare_stage(model, stage, found.catalog)
    here = Engine(torch.device("cpu"), Collectives(), None)
    whole = StageModel(model, objectives, here.collectives, 0)
    prepared = rehearsal._prepared(objectives, stage.batch_size)

    def step() -> None:
        rows, side = stage.batch_size, model.vision_encoder.image_size
        batch = Batch(torch.randn(rows, 3, side, side), torch.arange(rows), torch.arange(rows), prepared)
        backward(here, whole, batch, 1, stage.micro_batch_size)
        model.zero_grad(set_to_none=True)

    step()  # what is made once, such as a table of positions, is made
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        step()
    now = peak = 0
    assert watched.profiler is not None
    for event in watched.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            peak = max(peak, now)
    return peak


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "overrides"),
    [
        ("representation", ["stages.representation.micro_batch_size=4"]),
        ("generation", []),
        ("generation", ["run.checkpoint_activations=true"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_a_step_takes_what_was_foretold(stage: str, overrides: list[str]) -> None:
    recipe, found = recipe_of("blip2_tiny", *SMALL, *overrides), discover()
    rehearsal = Rehearsal(recipe, outline(recipe, found.catalog), found.catalog, ranks=1)
    foretold = rehearsal.peak(recipe.stages[stage])
    assert foretold == pytest.approx(measured(recipe, stage, rehearsal), rel=0.05)


def test_many_micro_batches_are_foretold_from_few() -> None:
    assert [_quadratic({n: 7 * n * n + 3 * n + 11 for n in (2, 3, 4)}, n) for n in (2, 4, 100)] == [45, 135, 70311]


def test_live_bytes_are_counted_once_and_forgotten() -> None:
    given = torch.zeros(1000)
    with LiveBytes([given]) as live:
        one = torch.zeros(100)
        view = one.view(10, 10).t()
        given.add_(1)
        assert live.now == 400
        two = view + 1
        del one, view
        assert (live.now, live.peak) == (400, 800)
        del two
    assert live.now == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "stage"), [("blip2_tiny_opt", "representation"), ("blip2_tiny", "generation")]
)  # fmt: skip
def test_forgotten_activations_change_no_bit(config: str, stage: str) -> None:
    steps = []
    for overrides in ([], ["run.checkpoint_activations=true"]):
        torch.manual_seed(5)
        recipe = recipe_of(config, "model.bridge.dropout=0.2", *overrides)
        steps.append(one_step(Collectives(), recipe, stage, torch.float32))
    (loss, gradients, _), (again, of_again, _) = steps
    assert torch.equal(loss, again) and set(gradients) == set(of_again)
    assert all(torch.equal(gradient, of_again[name]) for name, gradient in gradients.items())


def test_what_cannot_be_rehearsed_is_counted_and_said(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(CONFIG)
    found = discovered()
    recipe = load_recipe(path, [], found)
    parts = outline(recipe, found.catalog)
    for stage in foretell(recipe, parts, found.catalog, ranks=2).values():
        assert stage.activations is None and stage.unknown is not None and "rehearsal failed" in stage.unknown
        assert stage.total == stage.frozen + 4 * stage.trained  # masters, gradients, two moments
