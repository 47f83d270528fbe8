"""The model card of an export: parts, data, training, results with their protocol, limits."""

import json
from collections.abc import Iterator

from mmbridge_registry import Catalog

from mmbridge.checkpoint import Checkpoint
from mmbridge.figures import score
from mmbridge.recipe import Chosen, Recipe
from mmbridge.results import read_results
from mmbridge.run_directory import RunDirectory
from mmbridge.weights import HUB_ID, weights_of

FRONT = """---
pipeline_tag: image-text-to-text
tags: [blip-2, mmbridge]
---
"""
LIMITS = """It repeats what its training data and its frozen towers hold, their mistakes and biases included, and may
describe what an image does not show. Results were measured only on what the table says. The licences of the frozen
towers and of the data apply to it as well."""


def model_card(directory: RunDirectory, recipe: Recipe, trained: Checkpoint, catalog: Catalog) -> str:
    """Write the card of a checkpoint as Markdown."""
    return "\n".join(
        [
            FRONT,
            f"# {directory.path.name}",
            "",
            f"A vision-language model, assembled by mmbridge; exported after step {trained.step} of `{trained.stage}`.",
            "",
            *_section("Parts", _parts(recipe, catalog)),
            *_section("Data", (_line(name, data.dataset) for name, data in recipe.data.items())),
            *_section("Training", _training(recipe)),
            *_section("Results", _results(directory, trained)),
            *_section("Made with", _versions(directory)),
            *_section("Where the weights come from", _origin(directory)),
            "## Limits",
            "",
            LIMITS,
            "",
        ]
    )


def _section(title: str, lines: Iterator[str]) -> list[str]:
    written = list(lines)
    return [f"## {title}", "", *written, ""] if written else []


def _line(name: str, chosen: Chosen) -> str:
    stated = chosen.options.model_dump(mode="json", exclude_defaults=True)
    options = ", ".join(f"{key} {json.dumps(value)}" for key, value in stated.items())
    return f"- {name}: `{chosen.offer.name}` {f'({options})' if options else ''}".rstrip()


def _parts(recipe: Recipe, catalog: Catalog) -> Iterator[str]:
    for key, chosen in recipe.model.parts().items():
        yield _line(key, chosen)
        for value in dict.fromkeys(named.value for named in weights_of(chosen)):
            if HUB_ID.fullmatch(value) and "@" not in value and not catalog.shipped(value):
                yield f"  - no revision of {value} was pinned"


def _training(recipe: Recipe) -> Iterator[str]:
    for name, stage in recipe.stages.items():
        objectives = " + ".join(stage.objectives)
        parts = ", ".join(stage.train)
        yield f"- {name}: {parts} by {objectives}, {stage.steps:,} steps of {stage.batch_size}, lr {stage.optimizer.lr}"
    for key, bits in recipe.model.quantize:
        if bits is not None:
            yield f"- {key}: its weights were in {bits} in training and for the results below; here they are whole"


def _results(directory: RunDirectory, trained: Checkpoint) -> Iterator[str]:
    protocols: dict[str, str] = {}
    for key, result in read_results(directory.evaluation).items():
        of, evaluation, metric = key.split("/", 2)
        if of != trained.stage or result.get("step", trained.step) != trained.step:
            continue
        if not protocols:
            yield from ("| evaluation | metric | value | chance | n |", "|---|---|---|---|---|")
        protocols[evaluation] = result["protocol"]
        yield f"| {evaluation} | {metric} | {score(result['value'])} | {score(result.get('chance'))} | {result['n']} |"
    yield from (f"\n{evaluation}: {protocol}." for evaluation, protocol in protocols.items())


def _versions(directory: RunDirectory) -> Iterator[str]:
    if directory.lock.exists():
        lock = json.loads(directory.lock.read_text())
        yield ", ".join(f"{name} {version}" for name, version in lock["packages"].items()) + f"; seed {lock['seed']}"


def _origin(directory: RunDirectory) -> Iterator[str]:
    report = directory.path / "import.json"
    if report.exists():
        imported = json.loads(report.read_text())
        yield f"{imported['title']}, imported from another project."
        yield from (f"- {note}" for note in imported["notes"])
