"""Micro-batches: the gradient of a step a few rows at a time, and yet of the same loss.

What objectives add up over rows is added up over micro-batches too, and divided by counts of the whole batch. Contrast
compares every row with every other, so its gradient is cached at the embeddings (Gao et al., 2021, arXiv 2101.06983).
"""

from contextlib import nullcontext
from dataclasses import replace
from functools import partial

from mmbridge_registry import Batch, Catalog, Objective, UserError
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mmbridge.building import build
from mmbridge.engine import Engine
from mmbridge.model import StageLoss, StageModel
from mmbridge.recipe import Stage
from mmbridge.step_in_parts import StepInParts

CONTRAST = frozenset({"contrast"})


def check_objectives(name: str, stage: Stage, catalog: Catalog) -> None:
    """Check that a stage can take every objective, in micro-batches if it says so.

    Raises:
        UserError: one holds parameters, or contrasts and does more.
    """
    for key, chosen in stage.objectives.items():
        objective: Objective = build(chosen, catalog)
        if any(True for _ in objective.parameters()):
            raise UserError(
                f"'{key}' has parameters of its own, which nothing would train or save.",
                where=f"stages.{name}.objectives.{key}",
                do="What is learned belongs to the bridge.",
            )
        if stage.micro_batch_size is not None and objective.passes > CONTRAST:
            raise UserError(
                f"'{key}' contrasts and does more: it cannot be taken in micro-batches.",
                where=f"stages.{name}.micro_batch_size",
                do="Leave micro_batch_size out, or use one objective for the contrast and one for the rest.",
            )


def backward(here: Engine, model: nn.Module, batch: Batch, number: int, size: int | None) -> StageLoss:
    """Add to what is trained the gradient of step `number`, at most `size` of this rank's rows at once.

    `model` is a `StageModel`, wrapped for several ranks; they average their gradients once, with the last rows.
    """
    stage = model.module if isinstance(model, DistributedDataParallel) else model
    assert isinstance(stage, StageModel)
    if size is not None and size < len(batch):
        return _in_parts(here, model, stage, batch, number, size)
    with here.precision():
        step = stage.step(batch, number)
        loss: StageLoss = model(step, stage.weights(step))
    loss.loss.backward()
    return StageLoss.added([loss])


def _in_parts(here: Engine, model: nn.Module, stage: StageModel, batch: Batch, number: int, size: int) -> StageLoss:
    seed = partial(here.seed, stage.seed, number, here.collectives.rank)
    whole = StepInParts(batch, stage.step(batch, number).setting, size, seed)
    done: list[StageLoss] = []
    with here.precision():
        weights = stage.weights(whole)
        contrast = {name: weight for name, weight in weights.items() if stage.objective(name).passes == CONTRAST}
        if contrast:
            done.append(stage(whole, contrast))
    if contrast:
        done[0].loss.backward()
    rest = {name: weight for name, weight in weights.items() if name not in contrast}
    for part, rows in enumerate(whole.parts(carry=bool(contrast)), start=1):
        wait = getattr(model, "no_sync", nullcontext) if part < whole.number_of_parts else nullcontext
        with wait():
            with here.precision():
                loss: StageLoss = model(rows, rest)
            loss.loss.backward()
        done.append(replace(loss, loss=loss.loss.detach()))  # the graph goes
    return StageLoss.added(done)
