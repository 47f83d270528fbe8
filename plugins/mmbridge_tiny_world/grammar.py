"""The world's language: captions in several wordings, their parser, and the terse fixed-slot description."""

import re
from typing import NamedTuple

from .world import BACKGROUNDS, COLOURS, SHAPES, SIZES, Scene, Thing

NUMBERS = ("one", "two")
NOTHING = "none"

# Wordings by the number of things. The first words of a wording select it, so they serve as prompts.
WORDINGS: dict[int, tuple[str, ...]] = {
    1: (
        "a picture of {0} on a {background} background",
        "there is {0} in front of a {background} wall",
        "just {0} over {background}",
        "a {background} scene with {0}",
    ),
    2: (
        "a picture of {0} left of {1} on a {background} background",
        "there is {0} and then {1} in front of a {background} wall",
        "from left to right {0} and {1} over {background}",
        "a {background} scene with {0} beside {1}",
    ),
}
CAPTION_PROMPT = "a picture of"


class Reading(NamedTuple):
    """What a caption says: its things from left to right, None for what it leaves out."""

    things: tuple[tuple[str | None, str | None, str | None], ...]
    background: str | None


def name(thing: Thing) -> str:
    """Name a thing with all its attributes."""
    return f"a {thing.size} {thing.colour} {thing.shape}"


def caption(scene: Scene, wording: int = 0) -> str:
    """Say the whole scene in one of the wordings."""
    template = WORDINGS[len(scene.things)][wording % len(WORDINGS[len(scene.things)])]
    return template.format(*map(name, scene.things), background=scene.background)


def captions(scene: Scene) -> list[str]:
    """Say the scene in every wording."""
    return [caption(scene, wording) for wording in range(len(WORDINGS[len(scene.things)]))]


def parse(text: str) -> Reading:
    """Read back what a caption says, however incomplete: a shape closes a thing, the last background word counts."""
    things: list[tuple[str | None, str | None, str | None]] = []
    size = colour = background = None
    for word in re.findall(r"[a-z]+", text.lower()):
        if word in SIZES:
            size = word
        elif word in COLOURS:
            colour = word
        elif word in BACKGROUNDS:
            background = word
        elif word in SHAPES:
            things.append((size, colour, word))
            size = colour = None
    return Reading(tuple(things), background)


def truth(scene: Scene) -> Reading:
    """What a perfect caption of the scene is read as."""
    return Reading(tuple((thing.size, thing.colour, thing.shape) for thing in scene.things), scene.background)


def describe(scene: Scene) -> str:
    """List the scene in eight fixed slots: three words per thing, the count, the background."""
    words = [word for thing in scene.things for word in thing]
    words += [NOTHING] * (6 - len(words))
    return " ".join([*words, NUMBERS[len(scene.things) - 1], scene.background])


def shorthand(scene: Scene) -> str:
    """Describe the scene with words that name their own slot (`firstlarge firstred ... two grey`).

    A T5 has no absolute positions: from plain words it never learned which of two things an attribute belongs to.
    """
    words = describe(scene).split()
    return " ".join([*(f"first{word}" for word in words[:3]), *(f"second{word}" for word in words[3:6]), *words[6:]])


def attributes_right(said: Reading, wanted: Reading) -> float:
    """The share of the wanted attributes (three per thing, background, count) that a caption has right."""
    right = [said.background == wanted.background, len(said.things) == len(wanted.things)]
    for place, thing in enumerate(wanted.things):
        other = said.things[place] if place < len(said.things) else (None,) * len(thing)
        right += [a == b for a, b in zip(other, thing, strict=True)]
    return sum(right) / len(right)
