"""Evaluating together: where a forward is a collective, all ranks make the same evaluations and rank 0 writes."""

from mmbridge.evaluate import asked_at, due, evaluate_stage
from mmbridge.running import Running


def evaluate_together(running: Running, name: str, step: int) -> None:
    """Make the evaluations that are due after `step` steps of a stage, the same ones in the same order on all ranks."""
    here, recipe, directory = running.engine, running.recipe, running.directory
    # Only rank 0 knows: another might look while it writes.
    wanted = due(recipe, name, directory, step) if here.is_first else {}
    chosen = {key: one for key, one in asked_at(recipe, name, step).items() if here.agree(int(key in wanted))}
    if chosen:
        here.seed(recipe.run.seed, step)  # text that is sampled has to end at the same word everywhere
        with running.watchdog.resting():
            evaluate_stage(running.model, recipe, name, directory if here.is_first else None, step, chosen)
