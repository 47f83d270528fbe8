"""The run: assemble a model, carry it through its stages, evaluate it, keep what was learned.

Three functions in reading order: a run is stages, a stage is steps, a step is a loss and an update.
"""

from contextlib import nullcontext
from pathlib import Path

from mmbridge_registry import Batch
from mmbridge_registry.discovery import Discovered
from rich.console import Console
from torch import Tensor, nn

from mmbridge import report
from mmbridge.assemble import assemble
from mmbridge.building import build
from mmbridge.data.order import Mixture
from mmbridge.data.quarantine import Quarantine
from mmbridge.engine import engine
from mmbridge.evaluate import asked_at, due, evaluate_stage, print_table
from mmbridge.feed import check_division, feed, open_mixture
from mmbridge.loading import start_of
from mmbridge.model import StageLoss
from mmbridge.optim import learning_rate, set_learning_rate
from mmbridge.recipe import Recipe, Stage
from mmbridge.run_directory import RunDirectory
from mmbridge.running import Running
from mmbridge.stage_log import StageLog
from mmbridge.training import Training, begin
from mmbridge.weights import locate_all


def run(recipe: Recipe, discovered: Discovered, console: Console) -> RunDirectory:
    """Carry out a recipe, or go on with it where its directory says that it stopped.

    Everything that can be wrong with the recipe is found before the first file is written.
    """
    with engine(recipe.run) as here:
        directory = RunDirectory.of(recipe)
        directory.check(recipe)
        for name, stage in recipe.stages.items():
            check_division(name, stage, here.collectives.world_size)
            if stage.start is not None:
                start_of(Path(stage.start), where=f"stages.{name}.start")
        locate_all(recipe, discovered.catalog)
        model = assemble(recipe, discovered.catalog).to(here.device)
        mixtures = {name: open_mixture(recipe, stage, discovered.catalog) for name, stage in recipe.stages.items()}
        for one in recipe.evaluate.values():
            build(one.dataset, discovered.catalog)  # opened again when it is needed; here only to find what is missing
        running = Running(recipe, discovered, here, directory, model, console)
        if here.is_first:
            directory.write_start(recipe, discovered.plugins)
        running.tell("run_started")
        before: str | None = None
        for name, stage in recipe.stages.items():
            run_stage(running, name, stage, mixtures[name], before)
            before = name
        if here.is_first:
            report.write(directory.path)
            print_table(directory.path, console)
        running.tell("run_finished")
        running.say(f"run: {directory.path}\nreport: {directory.report}")
    return directory


def run_stage(running: Running, name: str, stage: Stage, mixture: Mixture, before: str | None) -> None:
    """Take the steps of a stage that are left, save, and evaluate."""
    recipe, collectives = running.recipe, running.engine.collectives
    training = begin(running, name, stage, before)
    running.tell("stage_started", stage=name, step=training.first)
    quarantine = Quarantine(running.directory.quarantine, recipe.run.max_bad_fraction)
    batches = feed(mixture, running.model, training.objectives, stage, recipe, collectives, quarantine)
    log = StageLog(running, training)
    for step, batch in enumerate(batches.steps(training.first, stage.steps), start=training.first + 1):
        log.waited()
        loss, norm = take_step(running, training, batch, step)
        log.stepped(step, batch, loss, norm)
        if step % recipe.run.checkpoint_every == 0 or step == stage.steps:
            training.save(running, step)
        if step < stage.steps:
            evaluate(running, name, step)
    evaluate(running, name, stage.steps)
    running.tell("stage_finished", stage=name)


def evaluate(running: Running, name: str, step: int) -> None:
    """Make the evaluations that are asked for after `step` steps and not made yet; rank 0 does, the others wait."""
    if not asked_at(running.recipe, name, step):
        return
    # What was made already is rank 0's to know: another rank might look while rank 0 writes, and then not wait.
    if running.engine.is_first and due(running.recipe, name, running.directory, step):
        evaluate_stage(running.model, running.recipe, name, running.directory, step)
    running.engine.wait_for_all()


def take_step(running: Running, training: Training, batch: Batch, step: int) -> tuple[StageLoss, Tensor]:
    """Compute the loss of a global batch and update what is trained; give the losses and the gradient's norm.

    The norm is taken after the ranks' gradients were averaged, so it is the same number everywhere: if it is not
    finite on one rank it is on none, and all of them leave the step out together.
    """
    here, stage = running.engine, training.stage
    here.seed(running.recipe.run.seed, step, here.collectives.rank)
    set_learning_rate(training.optimizer, learning_rate(step - 1, stage.steps, stage.optimizer.lr, stage.schedule))
    batch = batch.to(here.device, non_blocking=True)
    parts = list(batch.split(stage.micro_batch_size or len(batch)))
    results: list[StageLoss] = []
    for number, part in enumerate(parts, start=1):
        # Ranks need to average their gradients once per step only, with the last micro-batch.
        wait = getattr(training.model, "no_sync", nullcontext) if number < len(parts) else nullcontext
        with wait():
            with here.precision():
                results.append(training.model(part, step, len(parts)))
            results[-1].loss.backward()
    norm = nn.utils.clip_grad_norm_(training.trained.values(), stage.clip_grad_norm or float("inf"))
    if norm.isfinite():
        training.optimizer.step()
    training.optimizer.zero_grad(set_to_none=True)
    return StageLoss.of(results), norm
