"""Saving: a checkpoint is copied at once and written in a thread, one at a time, while training goes on."""

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from mmbridge_registry import UserError
from mmbridge_registry.catalog import did_you_mean

from mmbridge import checkpoint
from mmbridge.best import Best, judge
from mmbridge.checkpoint import Snapshot
from mmbridge.due import asked_at
from mmbridge.results import read_results
from mmbridge.running import Running
from mmbridge.training import Training


class Saving:
    """The checkpoints of one stage under way. Rank 0 writes; no rank waits for the disk but at the stage's end."""

    def __init__(self, running: Running, training: Training) -> None:
        self.running, self.training = running, training
        self.folder = running.directory.checkpoints(training.name)
        self.saved = training.first
        """Step of the newest checkpoint, which may still be on its way to the disk."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[Path] | None = None
        self._failed: tuple[int, OSError] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None) -> None:
        self._thread.shutdown()

    def after(self, step: int) -> None:
        """Take a checkpoint if the recipe wants one after `step` steps; tell the hooks of one that now stands."""
        recipe, name = self.running.recipe, self.training.name
        may_be_best = recipe.run.keep_best is not None and bool(asked_at(recipe, name, step))
        if step % recipe.run.checkpoint_every == 0 or step == self.training.stage.steps or may_be_best:
            self.save(step)
        elif self._writing is not None and self._writing.done():
            self.published()

    def save(self, step: int) -> None:
        """Take a checkpoint after `step` steps; waits for the one before, if the disk is that slow."""
        if step == self.saved:
            return
        self.published()
        self.saved = step
        if not self.running.engine.is_first:
            return
        training, model = self.training, self.running.model
        snapshot = Snapshot.of(model.kept(), training.state(model, step), training.trained, training.optimizer)
        keep = self.running.recipe.run.keep_checkpoints
        self._writing = self._thread.submit(checkpoint.write, self.folder, snapshot, keep)

    def published(self) -> None:
        """Wait for the checkpoint that is being written, and tell the hooks that it stands.

        A checkpoint that could not be written costs a warning as long as an older one stands.

        Raises:
            UserError: it could not be written, and there is no older one.
        """
        if self._writing is None:
            return
        writing, self._writing, step = self._writing, None, self.saved
        try:
            path = writing.result()
        except OSError as error:
            self._failed = step, error
            self._give_up_or_warn(step, error)
        else:
            self._failed = None
            self.running.tell("checkpoint_saved", stage=self.training.name, step=step, checkpoint=path)

    def stands(self) -> None:
        """Wait until what was saved last is on the disk; every rank waits.

        Raises:
            UserError: it could not be written.
        """
        self.published()
        if self._failed is not None:
            raise self._lost(*self._failed)
        self.running.engine.wait_for_all()

    def evaluated(self, step: int) -> None:
        """Note the checkpoint of `step` as the best if its evaluation says so."""
        metric, engine = self.running.recipe.run.keep_best, self.running.engine
        if metric is None or not engine.is_first:
            return
        evaluation = f"{self.training.name}/{metric.partition('/')[0]}/"
        results = {
            key.removeprefix(evaluation): result
            for key, result in read_results(self.running.directory.evaluation).items()
            if key.startswith(evaluation) and result.get("step") == step
        }
        name = metric.partition("/")[2]
        if found := results.get(name):
            judge(self.folder, Best(step, metric, found["value"]), found.get("less_is_better", False))
        elif results:
            self.running.say(f"run.keep_best: {evaluation} has no number '{name}'{did_you_mean(name, results)}")

    def _give_up_or_warn(self, step: int, error: OSError) -> None:
        older, _ = checkpoint.newest(self.folder)
        if older is None:
            raise self._lost(step, error) from error
        what = f"the checkpoint of step {step} could not be written ({error.strerror or error})"
        self.running.say(f"{self.training.name}: {what}; that of step {older.step} stands, training goes on.")

    def _lost(self, step: int, error: OSError) -> UserError:
        return UserError(
            f"the checkpoint of step {step} could not be written ({error.strerror or error}).",
            where=self.folder,
            do="Make room there; the same command goes on from the newest that stands.",
        )
