"""From plain values to a recipe: read, check."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmbridge_registry import UserError
from mmbridge_registry.discovery import Discovered

from mmbridge.config.best import check_best
from mmbridge.config.fitting import Fitting
from mmbridge.config.places import Problems
from mmbridge.config.published import recognised
from mmbridge.config.resolved import resolved
from mmbridge.config.sections import Sections
from mmbridge.config.shipped import find_card
from mmbridge.config.towers import check_towers
from mmbridge.config.values import read_values, read_yaml
from mmbridge.recipe import IMPORTED, Evaluate, Recipe

NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]")


def load_recipe(config: str | Path, overrides: Sequence[str], found: Discovered) -> Recipe:
    """Read a config, put overrides onto it, check all of it. Does not import torch.

    Raises:
        UserError: no such config, or one that cannot be read at all.
        ConfigError: every mistake in it, a line each with file, line and key.
    """
    problems = Problems()
    source, values = read_values(config, overrides, problems)
    return _recipe(source, values, found, problems)


def load_by_card(config: Path, card: str, overrides: Sequence[str], found: Discovered) -> dict[str, Evaluate]:
    """Lay overrides onto a card, as an entry of a config's `evaluate:` would: the one evaluation that comes of it.

    Raises:
        UserError: no such card, or one that cannot be read at all.
        ConfigError: every mistake in it or in the overrides.
    """
    if removal := next((text for text in overrides if "=" not in text), None):
        raise UserError("what a card says cannot be removed.", where=removal, do="Set it: key=value.")
    values = read_yaml(config)
    name = NOT_IN_NAMES.sub("_", find_card(card).name.removesuffix(".yaml"))
    stages = list(values.get("stages") or [IMPORTED])[-1:]
    entry = [f"evaluate.{name}={json.dumps({'card': card, 'stages': stages})}"]
    entry += [f"evaluate.{name}.{text}" for text in overrides]
    replaced = [f"~evaluate.{name}"] if name in (values.get("evaluate") or ()) else []
    return {name: load_recipe(config, [*replaced, *entry], found).evaluate[name]}


def _recipe(source: Path, values: dict[str, Any], found: Discovered, problems: Problems) -> Recipe:
    sections = Sections(values, found, problems)
    model, data, stages = sections.model(), sections.data(), sections.stages()
    evaluate, run, features = sections.evaluate(), sections.run(source.stem), sections.features()
    trackers = sections.trackers()
    if model is not None:
        fitting = Fitting(values, model, found.catalog, problems)
        for name, stage in stages.items():
            fitting.stage(name, stage)
        for name, one in evaluate.items():
            fitting.evaluation(name, one)
            if one.card:
                evaluate[name] = replace(one, card=recognised(one.card, model, found))
        check_towers(model, stages, run, problems)
    if run is not None:
        check_best(run, evaluate, problems)
    problems.stop_if_any()
    assert model is not None and run is not None  # else there were problems
    values = resolved(model, data, stages, evaluate, run, features, trackers)
    return Recipe(source, model, stages, data, evaluate, run, values, features, trackers)
