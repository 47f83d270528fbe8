"""From the YAML of a sweep to its runs: read, check, make the recipe of every run. Torch-free."""

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

from mmbridge_registry import MmbridgeError, UserError
from mmbridge_registry.catalog import did_you_mean
from mmbridge_registry.discovery import Discovered

from mmbridge.config import ConfigError, find_config, load_recipe, read_yaml
from mmbridge.config.checking import check
from mmbridge.config.overrides import COMMAND_LINE
from mmbridge.config.places import KeyPath, Problems
from mmbridge.config.sections import NAME
from mmbridge.recipe import Recipe
from mmbridge.sweep.declared import Planned, Settings, Sweep
from mmbridge.sweep.layers import combined, key_of, placed

OURS = ("run.name", "run.seed")
"""What a sweep itself gives to every run."""


def is_sweep(config: str | Path) -> bool:
    """Say whether a config declares a sweep and not a run."""
    return "variants" in read_yaml(find_config(config))


def load_sweep(file: str | Path, overrides: Sequence[str], found: Discovered) -> Sweep:
    """Read a sweep and check the recipe of every run; `overrides` are of all variants. Does not import torch.

    Raises:
        UserError: no such file, or one that cannot be read at all.
        ConfigError: every mistake in it and in what its variants make of the config, with file, line and key.
    """
    source, problems = find_config(file), Problems()
    settings = check(Settings, read_yaml(source, problems), (), problems, "a sweep")
    problems.stop_if_any()
    assert settings is not None  # else there were problems
    _check_names(settings, overrides, problems)
    problems.stop_if_any()
    beside = source.parent / settings.config
    config = beside if beside.is_file() else find_config(settings.config)
    layers = {name: combined(settings.overrides, overrides, own) for name, own in settings.variants.items()}
    places = {name: _places(settings, overrides, name, problems) for name in layers}
    recipes = _recipes(config, layers, places, found, problems)
    _check_compared(settings, list(recipes.values()), problems)
    problems.stop_if_any()
    folder = recipes[next(iter(layers))].run.directory / source.stem
    runs = [_planned(config, name, seed, folder, layers[name], found) for seed, name in product(settings.seeds, layers)]
    return Sweep(settings, folder, tuple(runs))


def _check_names(settings: Settings, overrides: Sequence[str], problems: Problems) -> None:
    for name in settings.variants:
        if not NAME.fullmatch(name):
            problems.add(("variants", name), f"'{name}' cannot be a name.", "Use letters, digits, _ and -.")
    for index, seed in enumerate(settings.seeds):
        if seed in settings.seeds[:index]:
            problems.add(("seeds", str(index)), f"seed {seed} stands twice.")
    _check_layer(("overrides",), settings.overrides, OURS, problems)
    for name, own in settings.variants.items():
        _check_layer(("variants", name), own, (*OURS, "run.directory"), problems)
    _check_layer((COMMAND_LINE,), overrides, OURS, problems)


def _check_layer(path: KeyPath, layer: Sequence[str], ours: Sequence[str], problems: Problems) -> None:
    for index, text in enumerate(layer):
        where = problems.places.get((*path, str(index)), COMMAND_LINE)
        if "=" not in text and not text.startswith("~"):
            problems.found.append(UserError(f"'{text}' is no override.", where=where, do="Write key=value, or ~key."))
        elif key_of(text) in ours:
            what = f"a sweep gives every run a {key_of(text)} of its own."
            problems.found.append(UserError(what, where=f"{where}: {text}"))


def _places(settings: Settings, overrides: Sequence[str], variant: str, problems: Problems) -> dict[str, str]:
    """Say where each override of a variant stands, by its key; of two with one key, the one that counts."""
    shared, own = (("overrides",), settings.overrides), (("variants", variant), settings.variants[variant])
    (first, last) = (
        {key_of(text): problems.places[*path, str(index)] for index, text in enumerate(layer)}
        for path, layer in (shared, own)
    )
    return first | {key_of(text): COMMAND_LINE for text in overrides} | last


def _recipes(
    config: Path,
    layers: Mapping[str, Sequence[str]],
    places: Mapping[str, Mapping[str, str]],
    found: Discovered,
    problems: Problems,
) -> dict[str, Recipe]:
    """Read the recipe of every variant. A mistake of all variants is noted once, another with its variant."""
    recipes: dict[str, Recipe] = {}
    mistakes: dict[str, dict[str, MmbridgeError]] = {}
    for name, layer in layers.items():
        try:
            recipes[name] = load_recipe(config, layer, found)
            if not recipes[name].stages:
                raise UserError("this config has no stages: there is nothing to run.", where=config)
        except MmbridgeError as error:
            for mistake in error.mistakes if isinstance(error, ConfigError) else (error,):
                one = placed(mistake, places[name])
                mistakes.setdefault(str(one), {})[name] = one
    for concerned in mistakes.values():
        name, one = next(iter(concerned.items()))
        whose = "" if len(concerned) == len(layers) else f"variant {', '.join(concerned)}: "
        problems.found.append(UserError(f"{whose}{one.what}", where=one.where, do=one.do))
    problems.stop_if_any()
    return recipes


def _check_compared(settings: Settings, recipes: Sequence[Recipe], problems: Problems) -> None:
    """Is there an evaluation for every result that is asked for? Its numbers are known only when it is made."""
    stages = {name for recipe in recipes for name in recipe.stages}
    evaluations = {name: None for recipe in recipes for name in recipe.evaluate}
    for index, asked in enumerate(settings.compare):
        first, *rest = asked.split("/")
        name = rest[0] if first in stages and len(rest) > 1 else first
        if not rest:
            do = "Write evaluation/metric, as evaluation.json has it."
            problems.add(("compare", str(index)), f"'{asked}' names no metric.", do)
        elif name not in evaluations:
            what = f"no variant has an evaluation '{name}'{did_you_mean(name, evaluations)}"
            problems.add(("compare", str(index)), what)


def _planned(config: Path, variant: str, seed: int, folder: Path, layer: Sequence[str], found: Discovered) -> Planned:
    ours = (f"run.seed={seed}", f"run.name={variant}-seed{seed}", f"run.directory={folder}")
    overrides = combined(layer, ours)
    return Planned(variant, seed, load_recipe(config, overrides, found), ("run", str(config), *overrides))
