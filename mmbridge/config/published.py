"""Which published model is it? By the names and architectures of its parts, whatever weights lie in them."""

from dataclasses import replace

from mmbridge_registry import RANDOM, UserError
from mmbridge_registry.discovery import Discovered

from mmbridge.cards import ByCard
from mmbridge.config.places import Problems
from mmbridge.config.sections import Sections
from mmbridge.config.values import read_values
from mmbridge.recipe import Chosen, ModelRecipe


def recognised(by: ByCard, model: ModelRecipe, found: Discovered) -> ByCard:
    """Find the published model of a card that a recipe's model is, if it is one, and the values of that one."""
    for config, expected in by.card.expected.items():
        if (published := _model(config, found)) and all(
            _identity(getattr(published, part)) == _identity(getattr(model, part)) for part in by.card.parts
        ):
            return replace(by, model=config.rpartition("/")[2].removesuffix(".yaml"), expected=expected)
    return by


def _model(config: str, found: Discovered) -> ModelRecipe | None:
    """Read a config's model; None if that is no longer where the card was read."""
    problems = Problems()
    try:
        _, values = read_values(config, [], problems)
    except UserError:
        return None
    return Sections(values, found, problems).model()


def _identity(part: Chosen | None) -> tuple[object, ...] | None:
    if part is None:
        return None
    options = part.options
    untrained = getattr(options, "weights", None) == RANDOM
    return part.offer.name, part.offer.plugin.name, getattr(options, "architecture", None), untrained
