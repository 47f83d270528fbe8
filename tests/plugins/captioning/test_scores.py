"""Scores equal those of the evaluation code that published numbers come from, on 1000 images of five captions."""

import json
import math
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmbridge_captioning.scores import bleu, bleu_counts, cider_d, rouge_l
from mmbridge_captioning.tokens import words

REFERENCE = json.loads(Path(__file__).with_name("pycocoevalcap.json").read_text())
CANDIDATES = [words(item["candidate"]) for item in REFERENCE["items"]]
REFERENCES = [[words(text) for text in item["references"]] for item in REFERENCE["items"]]

captions = st.lists(st.sampled_from(["a", "man", "dog", "runs", "on", "grass"]), min_size=1, max_size=9)


def test_bleu():
    counts = [bleu_counts(*pair) for pair in zip(CANDIDATES, REFERENCES, strict=True)]
    assert bleu(counts) == pytest.approx(REFERENCE["bleu"], abs=1e-12)


def test_rouge_l():
    scores = [rouge_l(*pair) for pair in zip(CANDIDATES, REFERENCES, strict=True)]
    assert scores == pytest.approx([item["rouge_l"] for item in REFERENCE["items"]], abs=1e-12)
    assert sum(scores) / len(scores) == pytest.approx(REFERENCE["rouge_l"], abs=1e-12)


def test_cider_d():
    scores = cider_d(CANDIDATES, REFERENCES)
    assert scores == pytest.approx([item["cider_d"] for item in REFERENCE["items"]], abs=1e-9)
    assert sum(scores) / len(scores) == pytest.approx(REFERENCE["cider_d"], abs=1e-10)


@pytest.mark.parametrize(("text", "expected"), REFERENCE["words"].items())
def test_hard_strings_are_divided_as_java_does(text, expected):
    assert list(words(text)) == expected


@settings(max_examples=50, deadline=None)
@given(captions, st.lists(captions, min_size=1, max_size=4))
def test_the_order_of_references_means_nothing(candidate, references):
    turned = references[::-1]
    assert bleu_counts(candidate, references) == bleu_counts(candidate, turned)
    assert rouge_l(candidate, references) == rouge_l(candidate, turned)


@settings(max_examples=50, deadline=None)
@given(captions)
def test_a_reference_itself_is_perfect(candidate):
    assert rouge_l(candidate, [candidate]) == pytest.approx(1)
    scores = bleu([bleu_counts(candidate, [candidate, ["another"]])])
    assert scores[: min(4, len(candidate))] == pytest.approx([1] * min(4, len(candidate)), abs=1e-6)


def test_cider_d_of_a_lone_image_is_nothing():
    """Every n-gram is in every image then, so none tells anything."""
    assert cider_d([["a", "dog"]], [[["a", "dog"]]]) == [0]


def test_cider_d_punishes_another_length():
    references = [[["a", "black", "dog", "runs"]], [["two", "men"]]]
    short, repeated = (
        cider_d([["dog", "runs"], ["x"]], references)[0],
        cider_d([["dog", "runs"] * 9, ["x"]], references)[0],
    )
    assert 0 < repeated < short


def test_shuffled_words_keep_bleu_1_only():
    shuffled = [random.Random(0).sample(candidate, len(candidate)) for candidate in CANDIDATES]
    plain = bleu([bleu_counts(*pair) for pair in zip(CANDIDATES, REFERENCES, strict=True)])
    mixed = bleu([bleu_counts(*pair) for pair in zip(shuffled, REFERENCES, strict=True)])
    assert math.isclose(plain[0], mixed[0])
    assert mixed[3] < plain[3] / 2
