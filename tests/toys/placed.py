"""Steps of a miniature whose frozen towers lie in one place or another; importable, since ranks are processes."""

import io
import os
from dataclasses import replace
from typing import Any

import torch
from mmbridge_registry import Batch, Draft, Sample, TextBridge
from mmbridge_registry.discovery import discover
from rich.console import Console
from torch import Tensor, distributed
from torch.distributed.tensor import DTensor

from mmbridge import checkpoint
from mmbridge.assemble import assemble, prepare_stage
from mmbridge.collectives import Collectives
from mmbridge.config import load_recipe
from mmbridge.engine import Engine
from mmbridge.micro_batches import backward
from mmbridge.model import BridgedModel, StageModel
from mmbridge.placement import place
from mmbridge.recipe import Recipe
from mmbridge.recomputing import recompute_blocks
from mmbridge.runner import run

WORDS = ["a", "red", "circle", "left", "of", "a", "small", "blue", "square"]
ROWS = 8


def recipe_of(config: str, *overrides: str) -> Recipe:
    """Read a shipped config."""
    return load_recipe(config, overrides, discover())


def made_up_batch(model: BridgedModel, objectives: dict[str, Any], rows: int) -> Batch:
    """Make a batch of noise, with captions of 2 to 8 words and a question to each."""
    side = model.vision_encoder.image_size
    noise = torch.randn(rows, 3, side, side, generator=torch.Generator().manual_seed(0))
    said = [" ".join(WORDS[: 2 + row % 7]) for row in range(rows)]
    samples = [Sample(noise[row], said[row], "what is it?", said[row], row, row, row) for row in range(rows)]
    bridge = model.bridge.tokenizer if isinstance(model.bridge, TextBridge) else None
    draft = Draft(samples, bridge, model.language_model.tokenizer if model.language_model else None)
    prepared = {name: item for part in objectives.values() for name, item in part.prepare(draft).items()}
    return Batch(noise.to(next(model.bridge.parameters()).dtype), torch.arange(rows), torch.arange(rows), prepared)


def one_step(
    collectives: Collectives,
    recipe: Recipe,
    stage: str,
    dtype: torch.dtype = torch.float64,
    model: BridgedModel | None = None,
    rows: int = ROWS,
) -> tuple[Tensor, dict[str, Tensor], dict[str, int]]:
    """Give the loss of a stage's first step, the gradients, and the bytes of each part that this rank holds.

    The step is that of the recipe's own model, in `dtype`, or of another; all ranks together take `rows`.
    """
    found, here = discover(), Engine(torch.device("cpu"), collectives, None)
    model = place(model or assemble(recipe, found.catalog).to(dtype), recipe, here)
    if recipe.run.checkpoint_activations:
        recompute_blocks(model)
    chosen = recipe.stages[stage]
    objectives = prepare_stage(model, chosen, found.catalog)
    whole = here.distribute(StageModel(model, objectives, collectives, seed=3))
    batch = made_up_batch(model, objectives, rows)
    own = list(batch.split(len(batch) // collectives.world_size))[collectives.rank]
    loss = backward(here, whole, own, 1, chosen.micro_batch_size).loss
    gradients = {name: tensor.grad for name, tensor in model.named_parameters() if tensor.grad is not None}
    return collectives.sum(loss) / collectives.world_size, gradients, held(model)


def shared_out(
    collectives: Collectives, rows: int, cases: list[tuple[str, str, int | None]]
) -> list[tuple[Tensor, dict[str, Tensor], dict[str, int]]]:
    """Take one step of `rows` rows for each (stage, placement, micro-batch)."""
    recipes = (
        recipe_of("blip2_tiny_opt", f"run.placement={placement}", f"stages.{stage}.micro_batch_size={size or 'null'}")
        for stage, placement, size in cases
    )
    return [one_step(collectives, one, case[0], rows=rows) for one, case in zip(recipes, cases, strict=True)]


def held(model: BridgedModel) -> dict[str, int]:
    """Add up the bytes of this process's own storages, by part."""
    held = {}
    for name, part in model.named_children():
        local = (tensor.to_local() if isinstance(tensor, DTensor) else tensor for tensor in part.parameters())
        held[name] = sum(tensor.numel() * tensor.element_size() for tensor in local)
    return held


def placed_steps(collectives: Collectives, cases: list[tuple[str, str]]) -> list[list[Any]]:
    """Take one step of each (config, stage), with its towers replicated and sharded: processes cost more than steps."""
    return [
        [one_step(collectives, replace(recipe, run=recipe.run.model_copy(update={"placement": placement})), stage)
         for placement in ("replicate", "shard")]
        for recipe, stage in ((recipe_of(config), stage) for config, stage in cases)
    ]  # fmt: skip


def whole_runs(collectives: Collectives, port: int, runs: list[list[str]]) -> list[dict[str, Any]]:
    """Carry out runs of a miniature on these ranks, one after the other; give what the last stage has learned."""
    distributed.destroy_process_group()  # a run starts its own
    environment = {"RANK": collectives.rank, "LOCAL_RANK": collectives.rank, "WORLD_SIZE": collectives.world_size}
    os.environ |= {key: str(number) for key, number in environment.items()}
    learned = []
    for number, overrides in enumerate(runs):
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port + number)}
        directory = run(recipe_of("blip2_tiny_opt", *overrides), discover(), Console(file=io.StringIO()))
        found, _ = checkpoint.newest(directory.checkpoints("generation"))
        learned.append(found.weights() if found else {})
    return learned


def placed(collectives: Collectives, cases: list[tuple[str, str]], port: int, runs: list[list[str]]) -> Any:
    """Give `placed_steps` and `whole_runs`."""
    return placed_steps(collectives, cases), whole_runs(collectives, port, runs)
