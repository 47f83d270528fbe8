"""Before a run trains: whether what its evaluations will ask is learned by then, and whether their data serves them."""

from collections.abc import Mapping

from mmbridge_registry import Catalog, Dataset, UserError

from mmbridge.asked.refusing import AnswerableError, RefusingModel
from mmbridge.assemble import prepare_stage
from mmbridge.building import build
from mmbridge.checkpoint import Checkpoint
from mmbridge.due import at_end
from mmbridge.engine import Engine
from mmbridge.inference import Model
from mmbridge.inference.learned import NotLearnedError
from mmbridge.model import BridgedModel
from mmbridge.recipe import Recipe


def check_evaluations(
    recipe: Recipe,
    model: BridgedModel,
    starts: Mapping[str, Checkpoint],
    datasets: Mapping[str, Dataset],
    catalog: Catalog,
    here: Engine,
) -> None:
    """Let every evaluation begin, as if its stage had been trained, and break it off at its first answer.

    `starts` are what stages begin from, by their names; `datasets` are those of the evaluations. The model is left as
    `assemble` gives it.

    Raises:
        UserError: an evaluation asks for what no stage has taught until then, or cannot use its data.
    """
    learned, in_step = set(model.learned), model.in_step
    for name, stage in recipe.stages.items():
        with here.same_randomness():
            prepare_stage(model, stage, catalog)
            if start := starts.get(name):
                model.learned |= start.learned(model.tensors().keys() - start.lacks)
                model.in_step = start.in_step if model.in_step is None else model.in_step
            for key, one in at_end(recipe, name).items():
                try:
                    build(one.evaluation, catalog).evaluate(RefusingModel(Model(model)), datasets[key])
                except AnswerableError:
                    continue
                except NotLearnedError as error:
                    do = f"Make it after a stage that teaches this (evaluate.{key}.stages), or leave it out."
                    raise UserError(error.what, where=f"evaluate.{key}, after {name}", do=do) from error
                except UserError as error:
                    raise UserError(error.what, where=error.where or f"evaluate.{key}", do=error.do) from error
    model.learned, model.in_step = learned, in_step
    model.requires_grad_(False).eval()
