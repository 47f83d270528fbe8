"""The world: what a scene is, how scenes are drawn by lot, and which split a scene belongs to.

Everything here is a pure function of its arguments: a scene is known by (split, seed, index) on any machine.
"""

from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b
from typing import Literal, NamedTuple

import numpy as np

SIZES = ("small", "large")
COLOURS = ("red", "green", "blue", "yellow", "cyan", "purple", "white", "black")
SHAPES = ("circle", "square", "triangle", "star", "cross", "diamond")
BACKGROUNDS = ("grey", "brown", "teal", "lilac")

# Every colour and every shape of these pairs is common in train; only their combination is not.
UNSEEN_PAIRS = frozenset({("red", "star"), ("green", "square"), ("blue", "triangle"), ("yellow", "cross")})

Split = Literal["train", "test", "unseen_pairs"]
SPLITS: tuple[Split, ...] = ("train", "test", "unseen_pairs")
TEST_SHARE = 8  # one scene in eight is held out


class Thing(NamedTuple):
    """One object: the attributes that captions and questions are about."""

    size: str
    colour: str
    shape: str


class Scene(NamedTuple):
    """What a picture shows: one or two things from left to right, and what is behind them."""

    things: tuple[Thing, ...]
    background: str


class Picture(NamedTuple):
    """A scene and where its things are: centres as (column, row) of the 8 x 8 patch grid."""

    scene: Scene
    centres: tuple[tuple[int, int], ...]


def random_thing(rng: np.random.Generator) -> Thing:
    """Draw each attribute of a thing uniformly."""
    size, colour, shape = rng.integers((len(SIZES), len(COLOURS), len(SHAPES)))
    return Thing(SIZES[size], COLOURS[colour], SHAPES[shape])


def random_scene(rng: np.random.Generator) -> Scene:
    """Draw a scene: mostly two things, for with a single one there is nothing to bind."""
    count = 1 if rng.random() < 0.2 else 2
    return Scene(tuple(random_thing(rng) for _ in range(count)), BACKGROUNDS[rng.integers(len(BACKGROUNDS))])


def random_centres(rng: np.random.Generator, count: int) -> tuple[tuple[int, int], ...]:
    """Put the first thing into the left half and the second into the right; a single one goes to either."""
    lefts = (1, 5) if count == 2 else (rng.choice((1, 5)),)
    return tuple((int(left + rng.integers(2)), int(rng.integers(1, 7))) for left in lefts)


@lru_cache(maxsize=1 << 16)
def split_of(scene: Scene) -> Split:
    """Name the one split that a scene belongs to, by what it contains and else by its hash."""
    if any((thing.colour, thing.shape) in UNSEEN_PAIRS for thing in scene.things):
        return "unseen_pairs"
    digest = blake2b(repr((tuple(map(tuple, scene.things)), scene.background)).encode(), digest_size=8).digest()
    return "test" if int.from_bytes(digest) % TEST_SHARE == 0 else "train"


def scene_by_lot(rng: np.random.Generator, split: Split) -> Scene:
    """Draw scenes until one belongs to the split."""
    while split_of(scene := random_scene(rng)) != split:
        pass
    return scene


def mutations(scene: Scene) -> Iterator[Scene]:
    """Every scene that differs from this one in exactly one attribute of one thing or in the background."""
    for place, thing in enumerate(scene.things):
        for field, values in (("size", SIZES), ("colour", COLOURS), ("shape", SHAPES)):
            for value in values:
                if value != getattr(thing, field):
                    changed = thing._replace(**{field: value})
                    yield scene._replace(things=(*scene.things[:place], changed, *scene.things[place + 1 :]))
    yield from (scene._replace(background=other) for other in BACKGROUNDS if other != scene.background)


@lru_cache(maxsize=16)
def held_out_scenes(split: Split, seed: int, size: int) -> tuple[Scene, ...]:
    """List distinct scenes in which each odd one is a one-attribute mutation of the even one before it."""
    rng = np.random.default_rng([SPLITS.index(split), seed])
    chosen: dict[Scene, None] = {}
    while len(chosen) < size:
        scene = scene_by_lot(rng, split)
        twins = [twin for twin in mutations(scene) if split_of(twin) == split and twin not in chosen]
        if scene not in chosen and twins:
            chosen[scene] = None
            chosen[twins[rng.integers(len(twins))]] = None
    return tuple(chosen)[:size]


def picture_at(split: Split, seed: int, index: int, size: int) -> Picture:
    """The picture number `index` of a split of `size` pictures; held-out splits hold distinct, hard-to-tell scenes."""
    rng = np.random.default_rng([SPLITS.index(split), seed, index])
    scene = scene_by_lot(rng, split) if split == "train" else held_out_scenes(split, seed, size)[index]
    return Picture(scene, random_centres(rng, len(scene.things)))
