"""The run: assemble a model, carry it through its stages, evaluate it, keep what was learned.

Three functions in reading order: a run is stages, a stage is steps, a step is a loss and an update.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from mmbridge_registry import Batch, Dataset
from mmbridge_registry.discovery import Discovered
from rich.console import Console
from torch import Tensor, nn

from mmbridge import report
from mmbridge.assemble import assemble
from mmbridge.building import build
from mmbridge.data.order import Mixture
from mmbridge.data.quarantine import Quarantine
from mmbridge.due import asked_at, due
from mmbridge.engine import engine
from mmbridge.evaluate import evaluate_stage
from mmbridge.failing import agreed
from mmbridge.features.checking import check_features
from mmbridge.feed import check_division, feed, open_mixture
from mmbridge.leaving import AskedToEndError, Leaving
from mmbridge.loading import start_of
from mmbridge.lock import facts_of, settle
from mmbridge.micro_batches import backward, check_objectives
from mmbridge.model import StageLoss
from mmbridge.optim import learning_rate, set_learning_rate
from mmbridge.placement import place
from mmbridge.preflight import check_evaluations
from mmbridge.rank_log import rank_log
from mmbridge.recipe import Recipe, Stage
from mmbridge.recomputing import recompute_blocks
from mmbridge.results import print_table
from mmbridge.run_directory import RunDirectory
from mmbridge.running import Running
from mmbridge.same_gradients import check_gradients
from mmbridge.saving import Saving
from mmbridge.stage_log import StageLog
from mmbridge.tracking import Tracking
from mmbridge.training import Training, begin
from mmbridge.watchdog import Watchdog
from mmbridge.weights import locate_all


def run(recipe: Recipe, discovered: Discovered, console: Console) -> RunDirectory:
    """Carry out a recipe, or go on with it where its directory says that it stopped.

    Everything that can be wrong with the recipe is found before the first file is written.
    """
    with engine(recipe.run) as here, ExitStack() as held:
        directory = RunDirectory.of(recipe)
        directory.check(recipe)
        starts = {}
        for name, stage in recipe.stages.items():
            check_division(name, stage, here.collectives.world_size)
            check_objectives(name, stage, discovered.catalog)
            if stage.start is not None:
                starts[name] = start_of(Path(stage.start), where=f"stages.{name}.start")
        locate_all(recipe, discovered.catalog)
        model = place(assemble(recipe, discovered.catalog), recipe, here)
        if recipe.run.checkpoint_activations:
            recompute_blocks(model)
        mixtures = {name: open_mixture(recipe, stage, discovered.catalog) for name, stage in recipe.stages.items()}
        evaluated = {name: build(one.dataset, discovered.catalog) for name, one in recipe.evaluate.items()}
        check_evaluations(recipe, model, starts, evaluated, discovered.catalog, here)
        check_features(recipe, discovered.catalog, mixtures.values(), model.vision_encoder, here)
        watchdog = Watchdog(here.store, here.collectives.rank, here.collectives.world_size, recipe.run.late_after)
        tracking = Tracking(recipe, discovered.catalog)
        running = Running(recipe, discovered, here, directory, model, console, Leaving(), watchdog, tracking)
        agreed(here, lambda: held.enter_context(directory.alone()) if here.is_first else None)
        lock_run(running, mixtures, evaluated)
        running.tell("run_started")
        with (
            rank_log(directory.logs, here),
            running.leaving.listening(),
            watchdog.watching(running.say),
            running.tracked(),
        ):
            run_stages(running, mixtures)
        if here.is_first:
            report.write(directory.path)
            print_table(directory.path, console)
        running.tell("run_finished")
        running.say(f"run: {directory.path}\nreport: {directory.report}")
    return directory


def lock_run(running: Running, mixtures: Mapping[str, Mixture], evaluated: Mapping[str, Dataset]) -> None:
    """Write what the run is and depends on, and compare that with what it was when it began.

    Raises:
        UserError: weights or data have changed; on every rank.
    """
    here, directory = running.engine, running.directory

    def write() -> None:
        datasets = {name: dataset for mixture in mixtures.values() for name, dataset in mixture.datasets.items()}
        facts = facts_of(running.recipe, running.discovered, datasets, evaluated, here)
        lock, changed = settle(directory.lock, facts)
        directory.write_start(running.recipe, lock)
        if changed:
            running.say(changed)

    agreed(here, write if here.is_first else lambda: None)


def run_stages(running: Running, mixtures: Mapping[str, Mixture]) -> None:
    """Carry the model through its stages, in order.

    Raises:
        AskedToEndError: the run was asked to end, and has saved.
    """
    before: str | None = None
    try:
        for name, stage in running.recipe.stages.items():
            run_stage(running, name, stage, mixtures[name], before)
            before = name
    except AskedToEndError as left:
        running.say(str(left))
        raise


def run_stage(running: Running, name: str, stage: Stage, mixture: Mixture, before: str | None) -> None:
    """Take the steps of a stage that are left, save, and evaluate."""
    recipe, collectives = running.recipe, running.engine.collectives
    training = begin(running, name, stage, before)
    running.tell("stage_started", stage=name, step=training.first)
    quarantine = Quarantine(running.directory.quarantine, recipe.run.max_bad_fraction, collectives)
    batches = feed(mixture, running.model, training.objectives, stage, recipe, collectives, quarantine)
    log = StageLog(running, training)
    with Saving(running, training) as saving, running.leaving.held():
        if 0 < training.first < stage.steps:
            evaluate(running, saving, training.first)
        for step, batch in enumerate(batches.steps(training.first, stage.steps), start=training.first + 1):
            log.waited(step)
            loss, norm, skipped = take_step(running, training, batch, step)
            log.stepped(step, batch, loss, norm, skipped)
            saving.after(step)
            if step < stage.steps:
                evaluate(running, saving, step)
            leave_if_asked(running, saving, step)
        saving.stands()
        evaluate(running, saving, stage.steps)
        leave_if_asked(running, saving, stage.steps)
    running.tell("stage_finished", stage=name)


def evaluate(running: Running, saving: Saving, step: int) -> None:
    """Make the evaluations that are asked for after `step` steps and not made yet, all ranks together.

    Raises:
        AskedToEndError: a signal came meanwhile; the step is saved, and the evaluation goes on where it was.
    """
    here, recipe, name = running.engine, running.recipe, saving.training.name
    asked = asked_at(recipe, name, step)
    if not asked:
        return
    # What was made already is rank 0's to know: another rank might look while rank 0 writes.
    wanted = due(recipe, name, running.directory, step) if here.is_first else {}
    chosen = {key: one for key, one in asked.items() if here.agree(int(key in wanted))}
    with running.watchdog.resting():
        leave = partial(leave_if_asked, running, saving, step)
        evaluate_stage(running.model, name, step, chosen, running.directory, here, leave)
    saving.evaluated(step)
    running.track(name, saving.training.first)
    here.wait_for_all()


def leave_if_asked(running: Running, saving: Saving, step: int) -> None:
    """Save and leave after `step` steps, all ranks together, if one of them was asked to end.

    Raises:
        AskedToEndError: it was.
    """
    signum = running.engine.agree(running.leaving.asked)
    if signum:
        saving.save(step)
        saving.stands()
        raise running.leaving.left(f"after step {step} of {saving.training.name}, which is saved", signum)


def take_step(running: Running, training: Training, batch: Batch, step: int) -> tuple[StageLoss, Tensor, str | None]:
    """Compute the loss of a global batch and update what is trained.

    Gives the losses, the gradient's norm, and why all ranks left the update out, if they did.
    """
    here, stage = running.engine, training.stage
    here.seed(running.recipe.run.seed, step, here.collectives.rank)
    set_learning_rate(training.optimizer, learning_rate(step - 1, stage.steps, stage.optimizer.lr, stage.schedule))
    batch = batch.to(here.device, non_blocking=True)
    loss = backward(here, training.model, batch, step, stage.micro_batch_size)
    if step == training.first + 1:
        training.check_reached()
    if running.recipe.run.check_gradients:
        check_gradients(training.trained, here.collectives)
    norm = nn.utils.clip_grad_norm_(training.trained.values(), stage.clip_grad_norm or float("inf"))
    skipped = training.reason_to_skip(loss.loss, norm, here.collectives)
    if skipped is None:
        training.optimizer.step()
    training.optimizer.zero_grad(set_to_none=True)
    return loss, norm, skipped
