"""Questions: every answer is right by an independent reading of the scene, and existence is balanced."""

import re

import numpy as np
from mmbridge_tiny_world.questions import ASKERS, draw_question
from mmbridge_tiny_world.world import picture_at

DRAWN = [
    (scene, draw_question(scene, np.random.default_rng(index)))
    for index in range(1500)
    for scene in [picture_at("train", 11, index, 0).scene]
]


def answer(scene, text):
    """Answer by looking the words of the question up in the scene."""
    things, word = scene.things, re.findall(r"\w+", text)[-1]
    if text.startswith("what colour is the background"):
        return scene.background
    if text.startswith("how many"):
        return {1: "one", 2: "two"}[len(things)]
    if text.startswith("is there"):
        return "yes" if any(word in (thing.shape, thing.colour) for thing in things) else "no"
    if text.startswith("what colour is the"):
        (colour,) = [thing.colour for thing in things if thing.shape == word]
        return colour
    thing = things[0] if word == "left" else things[-1]
    return thing.size if text.startswith("what size") else thing.shape


def test_answers_are_right():
    assert all(answer(scene, asked.text) == asked.answer for scene, asked in DRAWN)


def test_every_kind_is_asked():
    kinds = {asked.kind for _, asked in DRAWN}
    assert kinds == {"colour", "shape", "size", "background", "count", "existence"}
    assert len(kinds) == len(ASKERS)


def test_existence_is_balanced():
    answers = [asked.answer for _, asked in DRAWN if asked.kind == "existence"]
    assert 0.4 < answers.count("yes") / len(answers) < 0.6
