"""From a file to a recipe: read, merge, resolve, check."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmbridge_registry import UserError
from mmbridge_registry.discovery import Discovered

from mmbridge.config.best import check_best
from mmbridge.config.document import parse
from mmbridge.config.fitting import Fitting
from mmbridge.config.interpolation import resolve
from mmbridge.config.merging import merged
from mmbridge.config.overrides import override
from mmbridge.config.places import Problems
from mmbridge.config.resolved import resolved
from mmbridge.config.sections import Sections
from mmbridge.config.shipped import find_config
from mmbridge.config.towers import check_towers
from mmbridge.recipe import Recipe

MODELS = ("model", "captioner", "scorer")
"""Sections whose weights may lie beside the config."""


def load_recipe(config: str | Path, overrides: Sequence[str], found: Discovered) -> Recipe:
    """Read a config, put overrides onto it, check all of it. Does not import torch.

    Raises:
        UserError: no such config, or one that cannot be read at all.
        ConfigError: every mistake in it, a line each with file, line and key.
    """
    problems = Problems()
    source, values = read_values(config, overrides, problems)
    return _recipe(source, values, found, problems)


def read_values(config: str | Path, overrides: Sequence[str], problems: Problems) -> tuple[Path, dict[str, Any]]:
    """Find a config and read it, with its base, overrides and references, as plain values.

    Raises:
        UserError: no such config, or one that cannot be read at all.
    """
    source = find_config(config)
    values = override(_beside(source, _with_base(source, problems)), overrides, problems)
    return source, resolve(values, problems)


def _beside(source: Path, values: dict[str, Any]) -> dict[str, Any]:
    """Make paths of models that begin with ./ absolute: what lies beside a config moves with it."""

    def absolute(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: absolute(inner) for key, inner in value.items()}
        return str((source.parent / value).absolute()) if isinstance(value, str) and value.startswith("./") else value

    return {key: absolute(value) if key in MODELS else value for key, value in values.items()}


def read_yaml(file: Path) -> dict[str, Any]:
    """Read a YAML file as plain values, without checking what they mean.

    Raises:
        UserError: it cannot be read as YAML.
    """
    return _read(file, Problems())


def base_of(config: Path) -> Path | None:
    """Give the path of a config's base file, if it names one."""
    base = read_yaml(config).get("base")
    return config.parent / base if base else None


def _with_base(source: Path, problems: Problems) -> dict[str, Any]:
    values = _read(source, problems)
    if "base" not in values:
        return values
    base, where = values.pop("base"), problems.where(("base",))
    if not isinstance(base, str) or not (source.parent / base).is_file():
        raise UserError(f"there is no base file {base!r}.", where=where, do="Its path is relative to this file.")
    below = Problems()
    foundation = _read(source.parent / base, below)
    if "base" in foundation:
        do = "Say everything in one base file."
        raise UserError("a base file cannot have a base itself.", where=below.where(("base",)), do=do)
    problems.places = {**below.places, **problems.places}
    return merged(foundation, values)


def _read(file: Path, problems: Problems) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot be read: {error}.", where=file) from None
    values = parse(text, lambda line: f"{file}:{line}", problems)
    mapping = problems.mapping((), values)
    problems.stop_if_any()
    return mapping or {}


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
        check_towers(model, stages, run, problems)
    if run is not None:
        check_best(run, evaluate, problems)
    problems.stop_if_any()
    assert model is not None and run is not None  # else there were problems
    values = resolved(model, data, stages, evaluate, run, features, trackers)
    return Recipe(source, model, stages, data, evaluate, run, values, features, trackers)
