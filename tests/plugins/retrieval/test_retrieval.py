"""Retrieval against a reference that sorts one row at a time, with plain loops."""

import math
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmbridge_registry import TEXT_BRIDGE, Record, UserError
from mmbridge_registry.discovery import discover
from mmbridge_registry.kinds import EVALUATION
from mmbridge_retrieval import RetrievalOptions, build_retrieval
from mmbridge_retrieval.gallery import Gallery
from mmbridge_retrieval.ranking import candidates, chance, found, ranks

torch.set_num_threads(1)


class Library(list):
    """A dataset as a list."""


class Scripted:
    """A model whose cosines and match logits are written down; counts what it is asked."""

    def __init__(self, cosines, logits, texts):
        self.cosines, self.logits, self.texts, self.asked = cosines, logits, texts, Counter()

    def encode(self, images):
        self.asked["encoded"] += len(images)
        return SimpleNamespace(embed=lambda: self.cosines[:, None], match=self.match)

    def embed_texts(self, texts):
        assert list(texts) == self.texts
        return torch.eye(len(texts))

    def match(self, rows, texts):
        assert rows.tolist() == sorted(rows), "pairs are sorted by image, so that states are computed once"
        self.asked["pairs"] += len(rows)
        columns = [self.texts.index(text) for text in texts]
        assert len(set(zip(rows.tolist(), columns, strict=True))) == len(rows), "no pair is asked twice"
        return self.logits[rows, columns]


def library(owner):
    """Records 0..n-1, record i with the texts that `owner` gives to it."""
    texts = [f"text {place}" for place in range(len(owner))]
    images = max(owner) + 1
    return Library(
        Record(b"", tuple(text for text, i in zip(texts, owner, strict=True) if i == image), name=str(image))
        for image in range(images)
    )


def reference(scores, truth, allowed, k):
    """R@k by sorting each row; a column that is not allowed is never found, and ties come before the truth."""
    hits = []
    for score, true, may in zip(scores, truth, allowed, strict=True):
        order = sorted(np.flatnonzero(may), key=lambda column: (-score[column], true[column]))
        hits.append(any(true[column] for column in order[:k]))
    return sum(hits) / len(hits)


@st.composite
def scenes(draw):
    """Images with one to three texts each, cosines, match logits, candidates and a fusion."""
    counts = draw(st.lists(st.integers(1, 3), min_size=2, max_size=7))
    owner = [image for image, count in enumerate(counts) for _ in range(count)]
    # A few distinct values, so that ties occur; sums of them are exact in float32.
    value = st.integers(-8, 8).map(lambda number: number / 8)
    n, m = len(counts), len(owner)
    cosines = draw(st.lists(value, min_size=n * m, max_size=n * m))
    logits = draw(st.lists(value, min_size=2 * n * m, max_size=2 * n * m))
    shaped = torch.tensor(cosines).reshape(n, m), torch.tensor(logits).reshape(n, m, 2)
    return owner, *shaped, draw(st.integers(1, 30)), draw(st.sampled_from(["sum", "itm"]))


@settings(max_examples=50, deadline=None)
@given(scenes())
def test_metrics_are_those_of_the_reference(scene):
    owner, cosines, logits, k, fusion = scene
    texts = [text for record in library(owner) for text in record.texts]
    model = Scripted(cosines, logits, texts)
    evaluated = build_retrieval(RetrievalOptions(candidates=k, fusion=fusion)).evaluate(model, library(owner))
    truth = np.array(owner) == np.arange(max(owner) + 1)[:, None]
    cosine, score = cosines.numpy(), logits[..., 1].numpy() + (cosines.numpy() if fusion == "sum" else 0)
    by_image, by_text = (mask.numpy() for mask in candidates(cosines, k))
    everything = np.ones_like(truth)
    for top in (1, 5, 10):
        expected = {
            f"itc_image_to_text_r{top}": reference(cosine, truth, everything, top),
            f"itc_text_to_image_r{top}": reference(cosine.T, truth.T, everything.T, top),
            f"image_to_text_r{top}": reference(score, truth, by_image, top),
            f"text_to_image_r{top}": reference(score.T, truth.T, by_text.T, top),
        }
        for name, value in expected.items():
            assert evaluated.metrics[name].value == pytest.approx(value), name
    assert model.asked["encoded"] == len(truth)


@settings(deadline=None)
@given(st.integers(2, 9), st.integers(1, 40), st.data())
def test_candidates_are_the_best_k(n, k, data):
    order = data.draw(st.permutations(range(n * (n + 1))))
    similarity = torch.tensor(order, dtype=torch.float).reshape(n, n + 1)
    by_image, by_text = candidates(similarity, k)
    for row, mask in zip(similarity.tolist(), by_image.tolist(), strict=True):
        assert {v for v, m in zip(row, mask, strict=True) if m} == set(sorted(row)[-min(k, n + 1) :])
    for column, mask in zip(similarity.T.tolist(), by_text.T.tolist(), strict=True):
        assert {v for v, m in zip(column, mask, strict=True) if m} == set(sorted(column)[-min(k, n) :])


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(1, 3), min_size=2, max_size=4), st.integers(1, 6))
def test_chance_is_the_mean_over_all_orders(counts, k):
    truth = (
        torch.tensor([image for image, count in enumerate(counts) for _ in range(count)])
        == torch.arange(len(counts))[:, None]
    )
    columns = truth.shape[1]
    draw = torch.Generator().manual_seed(0)
    many = truth.repeat(2000, 1)
    share = found(torch.rand(many.shape, generator=draw), many, k).double().mean()
    assert share == pytest.approx(chance(truth, k), abs=0.05)
    assert chance(truth, columns) == 1
    assert chance(torch.eye(256, dtype=torch.bool), 1) == pytest.approx(1 / 256)


def test_a_model_that_scores_everything_alike_finds_nothing():
    truth = torch.eye(12, dtype=torch.bool)
    assert ranks(torch.zeros(12, 12), truth).tolist() == [11] * 12


def test_reranking_undoes_a_wrong_first_place_only_among_candidates():
    cosines = torch.tensor([[0.5, 0.6, 0.1], [0.1, 0.9, 0.0], [0.8, 0.7, 0.2]])
    logits = torch.zeros(3, 3, 2)
    logits[..., 1] = 9 * torch.eye(3)
    texts = ["text 0", "text 1", "text 2"]
    found = build_retrieval(RetrievalOptions(candidates=2)).evaluate(
        Scripted(cosines, logits, texts), library([0, 1, 2])
    )
    assert found.metrics["itc_image_to_text_r1"].value == pytest.approx(1 / 3)
    assert found.metrics["image_to_text_r1"].value == pytest.approx(2 / 3)
    assert [example.correct for example in found.examples] == [True, True, False]
    assert [example.truth for example in found.examples] == texts


def test_itm_accuracy_weighs_true_and_hard_pairs_alike():
    cosines, logits = torch.eye(4).repeat_interleave(2, dim=1), torch.zeros(4, 8, 2)
    texts = [f"text {place}" for place in range(8)]
    for says, expected in ((1.0, 0.5), (-1.0, 0.5)):
        logits[..., 1] = says
        found = build_retrieval(RetrievalOptions()).evaluate(
            Scripted(cosines, logits, texts), library([0, 0, 1, 1, 2, 2, 3, 3])
        )
        assert found.metrics["itm_accuracy"].value == expected
        assert found.metrics["itm_accuracy"].chance == 0.5


def test_itc_alone_asks_for_no_matching():
    model = Scripted(torch.eye(3), torch.zeros(3, 3, 2), ["text 0", "text 1", "text 2"])
    found = build_retrieval(RetrievalOptions(fusion="itc")).evaluate(model, library([0, 1, 2]))
    assert model.asked["pairs"] == 0
    assert found.metrics["itc_text_to_image_r1"].value == 1
    assert all(name.startswith("itc_") for name in found.metrics)


def test_the_protocol_names_fusion_and_candidates():
    model = Scripted(torch.eye(3), torch.zeros(3, 3, 2), ["text 0", "text 1", "text 2"])
    for fusion, words in (("sum", "ITM logit + cosine"), ("itm", "by ITM logit;")):
        found = build_retrieval(RetrievalOptions(fusion=fusion)).evaluate(model, library([0, 1, 2]))
        assert words in found.protocol
        assert "best 3 texts" in found.protocol
    assert found.metrics["image_to_text_r1"].n == 3
    assert math.isclose(found.metrics["image_to_text_r1"].chance, 1 / 3)


def test_records_of_one_image_are_joined_and_those_without_id_are_not():
    records = Library(
        [
            Record(b"a", ("one",), image_id=0),
            Record(b"b", ("two",)),
            Record(b"a", ("three",), image_id=0),
            Record(b"c", ("four",)),
        ]
    )
    gallery = Gallery.of(records)
    assert gallery.images == [b"a", b"b", b"c"]
    assert (gallery.texts, gallery.owner) == (["one", "two", "three", "four"], [0, 1, 0, 2])


@pytest.mark.parametrize("records", [[Record(b"a", ("one",))], [Record(b"a", ("one",)), Record(b"b", question="?")]])
def test_what_cannot_be_retrieved_is_refused(records):
    with pytest.raises(UserError, match=r"two images|no text"):
        Gallery.of(Library(records))


def test_it_is_offered_for_text_bridges_only():
    offer = discover().catalog.find(EVALUATION, "retrieval")
    assert offer.requires == {TEXT_BRIDGE}
