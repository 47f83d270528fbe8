"""Questions about a scene, each with one short answer."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from .grammar import NUMBERS
from .world import COLOURS, SHAPES, Scene

SIDES = ("left", "right")


class Question(NamedTuple):
    """A question, its only answer, and the kind of question that it is."""

    text: str
    answer: str
    kind: str


Asker = Callable[[Scene, np.random.Generator], Question | None]


def ask_colour(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Ask for the colour of a shape that occurs once."""
    shapes = [thing.shape for thing in scene.things]
    single = [thing for thing in scene.things if shapes.count(thing.shape) == 1]
    if not single:
        return None
    thing = single[int(rng.integers(len(single)))]
    return Question(f"what colour is the {thing.shape}?", thing.colour, "colour")


def ask_shape(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Ask which shape is on one side of two things."""
    if len(scene.things) < 2:
        return None
    side = int(rng.integers(2))
    return Question(f"which shape is on the {SIDES[side]}?", scene.things[side].shape, "shape")


def ask_size(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Ask for the size of what is on one side of two things."""
    if len(scene.things) < 2:
        return None
    side = int(rng.integers(2))
    return Question(f"what size is the shape on the {SIDES[side]}?", scene.things[side].size, "size")


def ask_background(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Ask what is behind the things."""
    return Question("what colour is the background?", scene.background, "background")


def ask_count(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Ask how many things there are."""
    return Question("how many shapes are there?", NUMBERS[len(scene.things) - 1], "count")


def ask_existence(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Ask whether a shape or a colour occurs; the answer is yes as often as no."""
    by_shape, wanted = rng.random(2) < 0.5
    values = SHAPES if by_shape else COLOURS
    present = {thing.shape if by_shape else thing.colour for thing in scene.things}
    fitting = [value for value in values if (value in present) == wanted]
    value = fitting[int(rng.integers(len(fitting)))]
    text = f"is there a {value}?" if by_shape else f"is there anything {value}?"
    return Question(text, "yes" if wanted else "no", "existence")


ASKERS: tuple[Asker, ...] = (ask_colour, ask_shape, ask_size, ask_background, ask_count, ask_existence)


def draw_question(scene: Scene, rng: np.random.Generator, askers: Sequence[Asker] = ASKERS) -> Question:
    """Draw a kind of question that this scene admits, and ask it."""
    while True:
        asked = askers[int(rng.integers(len(askers)))](scene, rng)
        if asked is not None:
            return asked
