"""The world: splits are disjoint, draws repeat, held-out scenes are hard to tell apart."""

from itertools import product

import numpy as np
import pytest
from mmbridge_tiny_world.world import (
    BACKGROUNDS,
    COLOURS,
    SHAPES,
    SIZES,
    SPLITS,
    UNSEEN_PAIRS,
    Scene,
    Thing,
    held_out_scenes,
    mutations,
    picture_at,
    split_of,
)

SINGLES = [Scene((Thing(*words),), ground) for *words, ground in product(SIZES, COLOURS, SHAPES, BACKGROUNDS)]


def drawn(split, count=400):
    return {picture_at(split, 7, index, count).scene for index in range(count)}


def test_no_scene_occurs_in_two_splits():
    train, test, unseen = (drawn(split) for split in SPLITS)
    assert not train & test
    assert not train & unseen
    assert not test & unseen


def test_unseen_pairs_never_occur_in_train_or_test_and_always_in_their_own():
    pairs = {split: [{(t.colour, t.shape) for t in scene.things} for scene in drawn(split)] for split in SPLITS}
    assert not any(each & UNSEEN_PAIRS for each in pairs["train"] + pairs["test"])
    assert all(each & UNSEEN_PAIRS for each in pairs["unseen_pairs"])


def test_train_has_every_colour_and_every_shape_of_the_unseen_pairs():
    things = [thing for scene in drawn("train") for thing in scene.things]
    assert {thing.colour for thing in things} == set(COLOURS)
    assert {thing.shape for thing in things} == set(SHAPES)


def test_about_an_eighth_of_what_has_no_unseen_pair_is_held_out():
    splits = [split_of(scene) for scene in SINGLES]
    assert 0.06 < splits.count("test") / (splits.count("test") + splits.count("train")) < 0.2


@pytest.mark.parametrize("split", ["test", "unseen_pairs"])
def test_held_out_scenes_are_distinct_and_pairwise_one_attribute_apart(split):
    scenes = held_out_scenes(split, 0, 256)
    assert len(set(scenes)) == 256
    assert all(split_of(scene) == split for scene in scenes)
    for one, other in zip(scenes[::2], scenes[1::2], strict=True):
        ours, theirs = (sum(map(tuple, scene.things), (scene.background,)) for scene in (one, other))
        assert sum(a != b for a, b in zip(ours, theirs, strict=True)) == 1


def test_mutations_are_all_the_neighbours():
    scene = Scene((Thing("small", "red", "circle"), Thing("large", "blue", "star")), "grey")
    per_thing = len(SIZES) + len(COLOURS) + len(SHAPES) - 3
    assert len(set(mutations(scene))) == 2 * per_thing + len(BACKGROUNDS) - 1


def test_a_picture_is_a_function_of_split_seed_and_index():
    assert picture_at("train", 3, 5, 0) == picture_at("train", 3, 5, 9)
    assert picture_at("train", 3, 5, 0) != picture_at("train", 4, 5, 0)
    assert len({picture_at("train", 3, index, 0) for index in range(50)}) == 50


def test_things_stand_in_the_order_of_their_names():
    for index in range(100):
        centres = np.array(picture_at("train", 0, index, 0).centres)
        assert (np.diff(centres[:, 0]) > 0).all()
