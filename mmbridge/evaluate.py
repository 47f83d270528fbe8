"""Evaluation: ask a model what a recipe wants to know, and keep the numbers and what they were measured on."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from mmbridge_registry import Evaluated, UserError
from mmbridge_registry.discovery import Discovered

from mmbridge import loading
from mmbridge.asked.exchanged import ExchangedImages
from mmbridge.asked.journal import Journal
from mmbridge.asked.shared import SharedModel
from mmbridge.assemble import assemble
from mmbridge.attending import write_attention
from mmbridge.config.resolved import of_evaluation
from mmbridge.due import at_end
from mmbridge.engine import Engine, engine
from mmbridge.exhibits import write_exhibits, write_predictions
from mmbridge.handoff import hand_over
from mmbridge.inference import Model
from mmbridge.leaving import Leaving
from mmbridge.model import BridgedModel
from mmbridge.placement import needs_all_ranks, place
from mmbridge.recipe import Evaluate
from mmbridge.results import Results, merge
from mmbridge.run_directory import RunDirectory


def evaluate_stage(
    model: BridgedModel,
    stage: str,
    step: int,
    chosen: Mapping[str, Evaluate],
    directory: RunDirectory,
    here: Engine,
    between: Callable[[], None] = lambda: None,
) -> Results:
    """Make evaluations of a stage after `step` steps, all ranks together, and give the new results.

    Rank 0 writes results, predictions and what is shown. `between` is called on all ranks after every part of the
    work; if it raises, the same evaluations go on from there the next time. Training is not disturbed: modes and
    torch's random state are afterwards what they were.
    """
    results, pictures = Results(), []
    for name, one in chosen.items():
        evaluation, dataset = one.evaluation.build(), one.dataset.build()
        journal = Journal(
            directory.answers(stage, name), {"step": step, "evaluation": of_evaluation(one)}, writes=here.is_first
        )
        asked = SharedModel(Model(model), here.collectives, journal, between, divided=not needs_all_ranks(model))
        with here.same_randomness():
            evaluated = evaluation.evaluate(asked, dataset)
            here.wait_for_all()  # each scores for itself, for minutes if a program in Java does it
            shuffled = evaluation.evaluate(ExchangedImages(asked), dataset) if one.shuffled else None
            here.wait_for_all()
        beside = one.card.beside(evaluated.metrics, model.vision_encoder.image_size) if one.card else {}
        made = _results(f"{stage}/{name}", evaluated, shuffled, step, beside)
        if here.is_first:
            write_predictions(evaluated, directory.predictions(stage, name))
            write_exhibits(evaluated, directory.samples(stage, name))
            merge(directory.evaluation, made)
        journal.forget()
        results |= made
        pictures = pictures or [example.image for example in evaluated.examples]
    if pictures:
        write_attention(model, pictures, directory.samples(stage, "attention") if here.is_first else None)
    return results


def evaluate_run(
    source: Path, found: Discovered, stage: str | None = None, asked: Mapping[str, Evaluate] | None = None
) -> Results | None:
    """Make all evaluations of a run's stage again, or of every stage that has a checkpoint; give the new results.

    `source` may be one checkpoint of a run, too. `asked` are evaluations of another config, made of one stage (by
    default the last) instead of the run's own. Of several ranks only the first is given results, the others None.

    Raises:
        UserError: there is no such run or stage, or nothing to evaluate.
        AskedToEndError: a signal has ended it; the next call goes on.
    """
    one = loading.one_checkpoint(source, stage)
    directory, recipe = loading.opened(source, found)
    begun = [name for name in recipe.stage_names if any(directory.checkpoints(name).glob("step-*"))]
    names = [stage] if stage else begun[-1:] if asked else begun
    checkpoints = [one] if one else [loading.newest_of(directory, recipe.stage_names, name) for name in names]
    results: Results = {}
    leaving, anywhere = Leaving(), recipe.run.model_copy(update={"device": "auto"})
    with engine(anywhere) as here, leaving.listening(), leaving.held():

        def leave_if_asked() -> None:
            if signum := here.agree(leaving.asked):
                raise leaving.left("in an evaluation", signum)

        for trained in checkpoints:
            if chosen := asked or at_end(recipe, trained.stage):
                model = place(assemble(recipe, found.catalog), recipe, here)
                hand_over(trained, model)
                where = trained.stage, trained.step
                results |= evaluate_stage(model.eval(), *where, chosen, directory, here, leave_if_asked)
        here.wait_for_all()
    if not results:
        do = "Run it first, with evaluations in its config, or take those of another: --evaluations CONFIG."
        raise UserError("there is nothing to evaluate.", where=source, do=do)
    return results if here.is_first else None


def _results(prefix: str, evaluated: Evaluated, shuffled: Evaluated | None, step: int, beside: Results) -> Results:
    results: Results = {}
    for key, metric in evaluated.metrics.items():
        stated = {"protocol": evaluated.protocol, "step": step, **beside.get(key, {})}
        results[f"{prefix}/{key}"] = asdict(metric) | stated
        if shuffled is not None:
            results[f"{prefix}/{key}"]["shuffled"] = shuffled.metrics[key].value
    return results
