"""Layers of overrides: those of a whole sweep, the command line's, a variant's own."""

from collections.abc import Mapping, Sequence

from mmbridge_registry import MmbridgeError, UserError

from mmbridge.config.overrides import COMMAND_LINE


def key_of(override: str) -> str:
    """Give the key that an override sets or removes."""
    return override.removeprefix("~").partition("=")[0].strip()


def combined(*layers: Sequence[str]) -> tuple[str, ...]:
    """Put layers into one list of overrides; of two that speak of one key the later layer's counts.

    What a later layer removes, an earlier one no longer sets: in one list, removals would come first, and the rest
    would have nothing to be set in.
    """
    result: list[str] = []
    for layer in layers:
        gone = [key_of(text) for text in layer if "=" not in text]
        result = [text for text in result if not any(_inside(key_of(text), key) for key in gone)]
        result += layer
    return tuple(result)


def placed(mistake: MmbridgeError, places: Mapping[str, str]) -> MmbridgeError:
    """Say where an override stands that `load_recipe` took for the command line's; `places` says it by key."""
    start, _, written = (mistake.where or "").partition(": ")
    above = [key for key in places if _inside(key_of(written), key)]
    if start != COMMAND_LINE or not above:
        return mistake
    return UserError(mistake.what, where=f"{places[max(above, key=len)]}: {written}", do=mistake.do)


def _inside(key: str, whole: str) -> bool:
    return f"{key}.".startswith(f"{whole}.")
