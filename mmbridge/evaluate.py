"""Evaluation of a stage: run what the recipe asks for, keep the numbers and what they were measured on."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from mmbridge_registry import UserError
from mmbridge_registry.discovery import Discovered

from mmbridge.recipe import Evaluate, Recipe
from mmbridge.results import Results, merge, read_results
from mmbridge.run_directory import RunDirectory

if TYPE_CHECKING:
    from mmbridge.model import BridgedModel


def due(recipe: Recipe, stage: str, directory: RunDirectory, step: int) -> dict[str, Evaluate]:
    """Name the evaluations to be made after `step` steps of a stage that were not made there yet."""
    results = read_results(directory.evaluation)
    made = {tuple(key.split("/")[:2]) for key, result in results.items() if result.get("step") == step}
    return {name: chosen for name, chosen in asked_at(recipe, stage, step).items() if (stage, name) not in made}


def asked_at(recipe: Recipe, stage: str, step: int) -> dict[str, Evaluate]:
    """Name the evaluations that a recipe asks for after `step` steps of a stage; the same on every rank."""
    return {
        name: chosen
        for name, chosen in at_end(recipe, stage).items()
        if step == recipe.stages[stage].steps or (chosen.every and step % chosen.every == 0)
    }


def at_end(recipe: Recipe, stage: str) -> dict[str, Evaluate]:
    """Name the evaluations that belong to the end of a stage."""
    return {name: chosen for name, chosen in recipe.evaluate.items() if stage in chosen.stages}


def evaluate_stage(
    model: "BridgedModel",
    recipe: Recipe,
    stage: str,
    directory: RunDirectory | None,
    step: int,
    chosen: Mapping[str, Evaluate] | None = None,
) -> Results:
    """Make evaluations of a stage after `step` steps, write results and examples, and give the new results.

    Without `chosen`, those that are due; without a directory, nothing is written.
    Training is not disturbed: modes and torch's random state are afterwards
    what they were.
    """
    import torch

    from mmbridge.exhibits import write_examples
    from mmbridge.inference import Model

    asked = Model(model)
    results: Results = {}
    if chosen is None:
        chosen = due(recipe, stage, directory, step) if directory else {}
    for name, one in chosen.items():
        with torch.random.fork_rng():
            evaluated = one.evaluation.build().evaluate(asked, one.dataset.build())
        stated = {"protocol": evaluated.protocol, "step": step}
        results |= {f"{stage}/{name}/{key}": asdict(metric) | stated for key, metric in evaluated.metrics.items()}
        if directory:
            write_examples(evaluated, directory.samples(stage, name))
    if directory:
        merge(directory.evaluation, results)
    return results


def evaluate_run(
    run: Path, found: Discovered, stage: str | None = None, asked: "Mapping[str, Evaluate] | None" = None
) -> Results:
    """Make all evaluations of a run's stage again, or of every stage that has a checkpoint; give the new results.

    `asked` are evaluations of another config, made of one stage (by default the last) instead of the run's own.

    Raises:
        UserError: the directory is no run, has no such stage, or nothing to evaluate.
    """
    from mmbridge import loading

    directory, recipe = loading.opened(run, found)
    begun = [name for name in recipe.stage_names if any(directory.checkpoints(name).glob("step-*"))]
    results: Results = {}
    for name in [stage] if stage else begun[-1:] if asked else begun:
        trained = loading.newest_of(directory, recipe.stage_names, name)
        if chosen := asked or at_end(recipe, name):
            model = loading.restored(recipe, found, trained)
            results |= evaluate_stage(model, recipe, name, directory, trained.step, chosen)
    if not results:
        do = "Run it first, with evaluations in its config, or take those of another: --evaluations CONFIG."
        raise UserError("there is nothing to evaluate.", where=run, do=do)
    return results
