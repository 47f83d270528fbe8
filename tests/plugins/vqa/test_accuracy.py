"""VQA accuracy equals what the two evaluators give that published numbers come from."""

import json
from pathlib import Path

import pytest
from mmbridge_vqa.accuracy import accuracy, normalised, without_punctuation

REFERENCE = json.loads(Path(__file__).with_name("evaluators.json").read_text())


@pytest.mark.parametrize(("text", "whole", "punctuation"), REFERENCE["normalised"], ids=repr)
def test_normalisation(text, whole, punctuation):
    assert normalised(text) == whole
    assert without_punctuation(text) == punctuation


@pytest.mark.parametrize(("place", "rules"), [(2, "official"), (3, "lavis")])
def test_accuracy(place, rules):
    wrong = [
        (answer, people, expected)
        for answer, people, *scores in REFERENCE["accuracy"]
        if 100 * accuracy(answer, people, rules) != pytest.approx(expected := scores[place - 2], abs=1e-5)
    ]
    assert not wrong


@pytest.mark.parametrize(
    ("answer", "people", "lavis", "official"),
    [
        ("Dog.", ["dog"] * 10, 1, 0),
        ("the dog", ["the dog"] * 10, 0, 1),
        ("dog", ["the dog"] * 4 + ["cat"] * 6, 0, 1),
        ("2", ["two"] * 3 + ["2"] * 2 + ["3"] * 5, 0.6, 1),
        ("dont know", ["dont know"] * 4 + ["no"] * 6, 0, 1),
        ("t-shirt", ["t-shirt"] * 10, 0, 1),
        ("yes", ["yes!"] * 5 + ["no"] * 5, 0, 1),
    ],
)
def test_the_rules_differ(answer, people, lavis, official):
    assert accuracy(answer, people, "lavis") == pytest.approx(lavis)
    assert accuracy(answer, people, "official") == pytest.approx(official)


@pytest.mark.parametrize(("matches", "expected"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (10, 1)])
def test_people_are_left_out_one_by_one(matches, expected):
    assert accuracy("dog", ["dog"] * matches + ["cat"] * (10 - matches)) == pytest.approx(expected)
