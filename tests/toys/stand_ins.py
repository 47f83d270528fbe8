"""Shipped configs that stand in for the ones that documents speak of: what they refuse, no config takes."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from mmbridge_registry import MmbridgeError
from mmbridge_registry.discovery import Discovered, discover

from mmbridge.capfilt.recipe import is_capfilt, load_capfilt
from mmbridge.config import as_yaml, find_config, is_card, load_by_card, load_card, load_recipe
from mmbridge.config.places import Problems
from mmbridge.config.values import read_values
from mmbridge.recipe import Recipe
from mmbridge.sweep.reading import is_sweep, load_sweep

CONFIGS = ("blip2_tiny_opt", "blip2_opt2.7b")
"""The miniature, and the paper's with its data."""
SECTIONS = ("features.folder=features", "trackers={tensorboard: {}, wandb: {project: x}, trackio: {project: x}}")
"""Sections that neither of them has."""


@cache
def found() -> Discovered:
    """What is installed."""
    return discover()


@cache
def recipe(config: str) -> Recipe:
    """A stand-in with all sections."""
    return load_recipe(config, SECTIONS, found())


def refusal(ask: Callable[[], object]) -> str | None:
    """The reason why mmbridge refuses something."""
    try:
        ask()
    except MmbridgeError as error:
        return " ".join(str(error).split())
    return None


def first_refusal(asks: Iterable[Callable[[], object]]) -> str | None:
    """The reason why all are refused, in the words of the first; None if one is not."""
    refusals = []
    for ask in asks:
        refusals.append(refusal(ask))
        if not refusals[-1]:
            return None
    return refusals[0]


def refused_overrides(overrides: Sequence[str]) -> str | None:
    """Why none of the stand-ins takes these overrides."""
    return first_refusal(lambda config=config: load_recipe(config, overrides, found()) for config in CONFIGS)


def refused_by_card(card: str, overrides: Sequence[str]) -> str | None:
    """Why a card cannot be evaluated with these overrides."""
    return refusal(lambda: load_by_card(find_config(CONFIGS[-1]), card, overrides, found()))


def read_any(config: str | Path, overrides: Sequence[str]) -> object:
    """Read a config of any kind by the loader of that kind."""
    for is_one, load in ((is_sweep, load_sweep), (is_capfilt, load_capfilt), (is_card, load_card)):
        if is_one(config):
            return load(config, overrides, found())
    return load_recipe(config, overrides, found())


def refused_fragment(text: str, values: Mapping[str, Any], folder: Path) -> str | None:
    """Why a part of a config, in a document, is none: laid over the stand-ins it does not make a whole one.

    What is no part of a run's config (a sweep, a card, CapFilt's), or has a model itself, is read as it stands.
    """
    if not {"variants", "captioner", "card", "model"}.isdisjoint(values):
        return refusal(lambda: read_any(_written(folder, text), []))
    return first_refusal(lambda name=name: read_any(_written(folder, text, base=name), []) for name in CONFIGS)


def _written(folder: Path, text: str, base: str | None = None) -> Path:
    file = folder / "fragment.yaml"
    if base:
        (folder / "base.yaml").write_text(_whole(base))
        text += "\nbase: base.yaml\n"  # at the end: lines keep their numbers
    file.write_text(text)
    return file


@cache
def _whole(config: str) -> str:
    return as_yaml(read_values(config, SECTIONS, Problems())[1])


def keys(values: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Every dotted key of plain values."""
    for key, value in values.items():
        yield f"{path}{key}"
        if isinstance(value, Mapping):
            yield from keys(value, f"{path}{key}.")
