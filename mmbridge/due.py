"""Which evaluations a recipe asks for, and which of them are due."""

from mmbridge.recipe import Evaluate, Recipe
from mmbridge.results import read_results
from mmbridge.run_directory import RunDirectory


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
