"""The language: every wording is read back exactly, and what is wrong is counted as wrong."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmbridge_tiny_world.grammar import (
    CAPTION_PROMPT,
    Reading,
    attributes_right,
    captions,
    describe,
    parse,
    shorthand,
    truth,
)
from mmbridge_tiny_world.world import BACKGROUNDS, COLOURS, SHAPES, SIZES, Scene, Thing, mutations

THINGS = st.builds(Thing, st.sampled_from(SIZES), st.sampled_from(COLOURS), st.sampled_from(SHAPES))
# No deadline: a busy machine is not a wrong parser.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
SCENES = st.builds(Scene, st.lists(THINGS, min_size=1, max_size=2).map(tuple), st.sampled_from(BACKGROUNDS))


@given(SCENES)
def test_every_wording_is_read_back(scene):
    wordings = captions(scene)
    assert len(set(wordings)) == len(wordings) == 4
    assert all(parse(text) == truth(scene) for text in wordings)
    assert wordings[0].startswith(CAPTION_PROMPT)


@given(SCENES)
def test_descriptions_have_eight_words_and_tell_scenes_apart(scene):
    for say in (describe, shorthand):
        assert len(say(scene).split()) == 8
        assert say(scene) not in {say(other) for other in mutations(scene)}


@given(SCENES)
def test_words_of_the_shorthand_tell_their_own_slot(scene):
    """The words of a thing mean the same in any order, so a tower without absolute positions can read them."""
    words = shorthand(scene).split()
    assert all(word.startswith("first") for word in words[:3])
    assert all(word.startswith("second") for word in words[3:6])
    assert not any(word.startswith(("first", "second")) for word in words[6:])


@given(SCENES)
def test_one_wrong_attribute_costs_exactly_its_share(scene):
    attributes = 3 * len(scene.things) + 2
    for other in mutations(scene):
        assert attributes_right(truth(other), truth(scene)) == pytest.approx(1 - 1 / attributes)


def test_incomplete_captions_are_read_as_far_as_they_go():
    assert parse("a red circle and then") == Reading(((None, "red", "circle"),), None)
    assert parse("") == Reading((), None)
    assert parse("A Large red STAR, a blue cross over teal") == Reading(
        (("large", "red", "star"), (None, "blue", "cross")), "teal"
    )


def test_a_thing_too_many_costs_the_count_only():
    scene = Scene((Thing("small", "red", "circle"),), "grey")
    said = parse("a small red circle and a large blue star over grey")
    assert attributes_right(said, truth(scene)) == pytest.approx(4 / 5)
    assert said != truth(scene)
