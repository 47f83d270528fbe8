"""Evaluation of a stage: run what the recipe asks for, keep the numbers and what they were measured on."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmbridge_registry import UserError
from rich.console import Console
from rich.table import Table

from mmbridge.recipe import Evaluate, Recipe
from mmbridge.run_directory import RunDirectory

if TYPE_CHECKING:
    from mmbridge_registry import Evaluated

    from mmbridge.model import BridgedModel

Results = dict[str, dict[str, Any]]
"""`{"<stage>/<evaluation>/<metric>": {"value", "chance", "ceiling", "n", "protocol"}}`, as evaluation.json holds it."""

SHOWN_SIDE = 384
"""Longest side in pixels of an example's image in `samples/`."""


def due(recipe: Recipe, stage: str, step: int | None = None) -> dict[str, Evaluate]:
    """Name the evaluations to be made after `step` steps of a stage; all of the stage's at its end (None)."""
    of_stage = {name: chosen for name, chosen in recipe.evaluate.items() if stage in chosen.stages}
    if step is None or step == recipe.stages[stage].steps:
        return of_stage
    return {name: chosen for name, chosen in of_stage.items() if chosen.every and step % chosen.every == 0}


def evaluate_stage(
    model: "BridgedModel", recipe: Recipe, stage: str, directory: RunDirectory, step: int | None = None
) -> Results:
    """Make the evaluations of a stage that are due, write results and examples, and give the new results.

    Training is not disturbed: modes and torch's random state are afterwards what they were.
    """
    import torch

    from mmbridge.inference import Model, can_write

    asked = Model(model, writes=can_write(recipe, stage))
    results: Results = {}
    for name, chosen in due(recipe, stage, step).items():
        with torch.random.fork_rng():
            evaluated = chosen.evaluation.build().evaluate(asked, chosen.dataset.build())
        results |= {
            f"{stage}/{name}/{metric}": asdict(measured) | {"protocol": evaluated.protocol}
            for metric, measured in evaluated.metrics.items()
        }
        write_examples(evaluated, directory.samples(stage, name))
    merge(directory.evaluation, results)
    return results


def merge(path: Path, results: Results) -> None:
    """Put results into an evaluation.json beside those that stand there; the file changes at once or not at all."""
    if results:
        partial = path.with_suffix(".json.tmp")
        partial.write_text(json.dumps(read_results(path) | results, indent=1))
        partial.replace(path)


def read_results(path: Path) -> Results:
    """Read an evaluation.json; empty if nothing was evaluated yet.

    Raises:
        UserError: it is no JSON.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise UserError(f"not readable ({error}).", where=path, do="Remove it and evaluate again.") from error


def write_examples(evaluated: "Evaluated", folder: Path) -> None:
    """Replace a folder of examples: numbered PNGs and what was said of them in `examples.json`."""
    from mmbridge.data.images import open_image

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    listed = []
    for number, example in enumerate(evaluated.examples):
        image, name = open_image(example.image), f"{number:03d}.png"
        image.thumbnail((SHOWN_SIDE, SHOWN_SIDE))
        image.save(folder / name)
        said = {key: getattr(example, key) for key in ("question", "truth", "output", "correct")}
        listed.append({"image": name} | said)
    (folder / "examples.json").write_text(json.dumps(listed, indent=1))


def print_table(run: Path, console: Console) -> None:
    """Print every result of a run beside chance and ceiling."""
    results = read_results(RunDirectory(run).evaluation)
    if results:
        console.print(table_of(results))


def table_of(results: Mapping[str, Mapping[str, Any]]) -> Table:
    """Lay results out as a table."""
    table = Table("stage", "evaluation", "metric", title="Evaluation", title_justify="left")
    for column in ("value", "chance", "ceiling", "n"):
        table.add_column(column, justify="right")
    before = ("", "")
    for key, result in results.items():
        stage, evaluation, metric = key.split("/", 2)
        new = (stage if stage != before[0] else "", evaluation if (stage, evaluation) != before else "")
        numbers = (figure(result.get(name)) for name in ("value", "chance", "ceiling"))
        table.add_row(*new, metric, *numbers, str(result["n"]))
        before = (stage, evaluation)
    return table


def figure(value: float | None) -> str:
    """Show a number with three digits; a dash where there is none."""
    return "–" if value is None else f"{value:.3f}"
