"""Cards in configs: `card: NAME` in an entry of `evaluate:` stands for a card's evaluation and data, the entry wins."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmbridge_registry import DATASET, EVALUATION, UserError
from mmbridge_registry.discovery import Discovered
from mmbridge_registry.options import AnnotationFileMark

from mmbridge.cards import ByCard, Card
from mmbridge.config.checking import check
from mmbridge.config.choosing import choose
from mmbridge.config.merging import merged
from mmbridge.config.places import KeyPath, Problems
from mmbridge.config.shipped import find_card, find_config
from mmbridge.config.values import read_values, read_yaml
from mmbridge.marked import marked
from mmbridge.recipe import Chosen

PARTS = {"evaluation": EVALUATION, "data": DATASET}


def is_card(config: str | Path) -> bool:
    """Say whether a config is a card and not a run's."""
    return "card" in read_yaml(find_config(config))


def load_card(config: str | Path, overrides: Sequence[str], found: Discovered) -> Card:
    """Read a card, put overrides onto it, check all of it. Does not import torch.

    Raises:
        UserError: no such card, or one that cannot be read at all.
        ConfigError: every mistake in it, a line each with file, line and key.
    """
    problems = Problems()
    read = _of_file(find_config(config), overrides, found, problems)
    problems.stop_if_any()
    assert read is not None  # else there were problems
    return read


def by_card(
    entry: dict[str, Any], path: KeyPath, found: Discovered, problems: Problems
) -> tuple[dict[str, Any], Card | None]:
    """Lay an entry of `evaluate:` onto the card that it names, and give that; None if it cannot be read.

    What a mistake in the card's own values is called, and where it stands, is said as of the card.
    """
    named, path_of_card = entry["card"], (*path, "card")
    if isinstance(named, str):
        inside = Problems()
        card = _of_file(_found(named, problems.where(path_of_card)), [], found, inside)
        problems.found += inside.found
        places = inside.places
    else:  # as a resolved config has it, which says everything itself
        values = problems.mapping(path_of_card, named)
        card = None if values is None else check(Card, values, path_of_card, problems, "a card")
        start = len(path_of_card)
        places = {key[start:]: where for key, where in problems.places.items() if key[:start] == path_of_card}
    own = {key: value for key, value in entry.items() if key != "card"}
    if card is None:
        return own, None
    problems.places = {**_under(path, places), **problems.places}
    return merged({**card.evaluation, "data": card.data}, own, path), card


def compared(card: Card, evaluation: Chosen, dataset: Chosen, found: Discovered) -> ByCard:
    """Say what of an evaluation is another than its card says; where data lies is free."""
    stated = _parts(card, found, Problems())
    pairs = ((stated["evaluation"], evaluation, _protocol, ""), (stated["data"], dataset, _selection, "data"))
    lines: list[str] = []
    for own, used, what, prefix in pairs:
        if own is not None and own.offer != used.offer:
            lines += _differing(own.offer.name, used.offer.name, f"{prefix}.name".lstrip("."))
        elif own is not None:
            lines += _differing(what(own), what(used), prefix)
    return ByCard(card, tuple(lines))


def _of_file(source: Path, overrides: Sequence[str], found: Discovered, problems: Problems) -> Card | None:
    _, values = read_values(source, overrides, problems)
    card = check(Card, {"name": source.name.removesuffix(".yaml"), **values}, (), problems, "a card")
    if card is None:
        return None
    _parts(card, found, problems)
    expected = {_config(key, source, problems): metrics for key, metrics in card.expected.items()}
    return card.model_copy(update={"expected": expected})


def _found(card: str, where: str) -> Path:
    try:
        return find_card(card)
    except UserError as error:
        raise UserError(error.what, where=where, do=error.do) from None


def _parts(card: Card, found: Discovered, problems: Problems) -> dict[str, Chosen | None]:
    """Find a card's own parts."""
    return {key: choose(kind, getattr(card, key), (key,), found, problems) for key, kind in PARTS.items()}


def _config(key: str, source: Path, problems: Problems) -> str:
    """Check that there is a config of a published model, and make the path of one beside the card absolute."""
    beside = source.parent / key
    if beside.is_file():
        return str(beside.absolute())
    try:
        find_config(key)
    except UserError as error:
        problems.add(("expected", key), error.what, error.do)
    return key


def _under(path: KeyPath, places: Mapping[KeyPath, str]) -> dict[KeyPath, str]:
    """Place a card's options where the entry that takes them has them."""
    options = {(*path, *key[1:]): where for key, where in places.items() if key[:1] == ("evaluation",) and key[1:]}
    return options | {(*path, *key): where for key, where in places.items() if key[:1] == ("data",)}


def _protocol(evaluation: Chosen) -> dict[str, Any]:
    return evaluation.options.model_dump(mode="json")


def _selection(dataset: Chosen) -> dict[str, Any]:
    """Options that choose what is read: all but paths, of which the names of annotation files do."""
    options = dataset.options
    values = {
        key: value
        for key, value in options.model_dump(mode="json").items()
        if not isinstance(getattr(options, key), Path)
    }
    return values | {named.field: named.value.name for named in marked(dataset, AnnotationFileMark)}


def _differing(stated: Any, used: Any, key: str) -> Iterator[str]:
    if isinstance(stated, dict) and isinstance(used, dict):
        for name in dict.fromkeys([*stated, *used]):
            yield from _differing(stated.get(name), used.get(name), f"{key}.{name}".lstrip("."))
    elif stated != used:
        yield f"{key} {json.dumps(used)} instead of {json.dumps(stated)}"
