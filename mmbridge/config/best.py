"""Is there an evaluation that says which checkpoint is the best? Its numbers are known only when it is made."""

from collections.abc import Mapping

from mmbridge_registry.catalog import did_you_mean

from mmbridge.config.places import Problems
from mmbridge.recipe import Evaluate, Run


def check_best(run: Run, evaluate: Mapping[str, Evaluate], problems: Problems) -> None:
    """Note in `problems` if `run.keep_best` names no evaluation of the recipe."""
    if run.keep_best is None:
        return
    evaluation, _, metric = run.keep_best.partition("/")
    if not metric:
        do = "Write evaluation/metric, as evaluation.json has it without the stage."
        problems.add(("run", "keep_best"), f"'{run.keep_best}' names no metric.", do)
    elif evaluation not in evaluate:
        what = f"there is no evaluation '{evaluation}'{did_you_mean(evaluation, evaluate)}"
        problems.add(("run", "keep_best"), what)
