"""Retrieval against a reference that sorts one row at a time, with plain loops."""

import json
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
from mmbridge_retrieval.evaluation import itm_accuracy
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


@settings(max_examples=30, deadline=None)
@given(scenes(), st.booleans())
def test_predictions_hold_what_the_recalls_were_counted_from(scene, by_itc):
    owner, cosines, logits, k, fusion = scene
    records = library(owner)
    texts = [text for record in records for text in record.texts]
    options = RetrievalOptions(candidates=k, fusion="itc" if by_itc else fusion)
    evaluated = build_retrieval(options).evaluate(Scripted(cosines, logits, texts), records)
    of_images, of_texts = evaluated.predictions[: len(records)], evaluated.predictions[len(records) :]
    assert [line["image_id"] for line in of_images] == [record.name for record in records]
    assert [(line["text_id"], line["text"]) for line in of_texts] == list(enumerate(texts))
    for name, lines in (("image_to_text", of_images), ("text_to_image", of_texts)):
        for top in (1, 5, 10):
            hits = [line["rank"] is not None and line["rank"] <= top for line in lines]
            metric = evaluated.metrics[f"{'itc_' if by_itc else ''}{name}_r{top}"]
            assert metric.value == pytest.approx(sum(hits) / len(hits))
        for line in lines:
            assert line["scores"] == sorted(line["scores"], reverse=True) and len(line["found"]) <= 10
            shown = [place for place, one in enumerate(line["found"], 1) if one in line["truth"]]
            assert not shown or shown[0] <= line["rank"], "ties count against the model"
            assert line["rank"] != 1 or shown[:1] == [1]
    score = cosines if by_itc else logits[..., 1] + (cosines if fusion == "sum" else 0)
    for row, line in enumerate(of_images):
        assert line["scores"] == score[row, line["found"]].tolist()
    json.dumps(evaluated.predictions, allow_nan=False)


def test_searches_show_texts_by_the_place_of_their_image():
    cosines = torch.eye(12) + torch.linspace(0, 0.1, 144).reshape(12, 12)
    cosines[3, 3], cosines[7, 7] = 0.02, -0.5  # one image falls to some lower place, one to the last
    texts = [f"text {place}" for place in range(12)]
    records = Library(Record(f"image {place}".encode(), (text,)) for place, text in enumerate(texts))
    model = Scripted(cosines, torch.zeros(12, 12, 2), texts)
    found = build_retrieval(RetrievalOptions(fusion="itc")).evaluate(model, records).found
    assert len(found) == 9
    assert [one.text for one in found if not one.right[0]] == ["text 7", "text 3"]
    assert not found[6].right[0], "the best, some others, the worst"
    for one in found:
        column = texts.index(one.text)
        order = cosines[:, column].argsort(descending=True)[:5].tolist()
        assert one.images == [records[row].image for row in order]
        assert one.scores == cosines[order, column].tolist()
        assert one.right == [row == column for row in order]


@pytest.mark.parametrize("fusion", ["sum", "itc"])
def test_the_heat_map_is_of_true_pairs_on_its_diagonal(fusion):
    owner = [place // 2 for place in range(24)]
    cosines, logits = torch.rand(12, 24), torch.rand(12, 24, 2)
    records = Library(
        Record(f"image {place}".encode(), (f"text {2 * place}", f"text {2 * place + 1}")) for place in range(12)
    )
    model = Scripted(cosines, logits, [f"text {place}" for place in range(24)])
    found = build_retrieval(RetrievalOptions(fusion=fusion, candidates=2)).evaluate(model, records).heatmap
    rows = [int(image.split()[1]) for image in found.images]
    columns = [int(text.split()[1]) for text in found.texts]
    assert len(set(rows)) == 8 and columns == [owner.index(row) for row in rows]
    expected = cosines if fusion == "itc" else logits.softmax(-1)[..., 1]
    assert torch.tensor(found.scores).allclose(expected[rows][:, columns])
    assert found.meaning == ("largest cosine over queries" if fusion == "itc" else "ITM probability")


def test_examples_are_those_whose_truth_stands_highest_and_lowest():
    cosines = torch.eye(20) + torch.linspace(0, 0.1, 400).reshape(20, 20)
    cosines[4, 4] = -1
    texts = [f"text {place}" for place in range(20)]
    model = Scripted(cosines, torch.zeros(20, 20, 2), texts)
    shown = build_retrieval(RetrievalOptions(fusion="itc")).evaluate(model, library(range(20))).examples
    assert [example.picked for example in shown] == ["best"] * 4 + ["random"] * 4 + ["worst"] * 4
    last = next(example for example in shown if not example.correct)
    assert (last.truth, last.output, last.score, last.picked) == ("text 4", "text 19", 1 / 20, "worst")
    assert all(example.score == 1 and example.output == example.truth for example in shown if example.correct)


def test_the_interval_of_itm_accuracy_covers_the_truth():
    """Shares 0.9 and 0.6 of 40 answers each: the middle of 400 intervals holds 0.75 about 95 times in 100."""
    draw, covered = torch.Generator().manual_seed(1), 0
    truth, hard = torch.zeros(2, 40, dtype=torch.bool), torch.zeros(2, 40, dtype=torch.bool)
    truth[0], hard[1] = True, True
    for _ in range(400):
        logits = torch.zeros(2, 40, 2)
        logits[0, :, 1] = (torch.rand(40, generator=draw) < 0.9).float()
        logits[1, :, 1] = (torch.rand(40, generator=draw) >= 0.6).float()
        low, high = itm_accuracy(logits, truth, hard).interval
        assert 0 <= low < high <= 1
        covered += low <= 0.75 <= high
    assert 0.92 <= covered / 400 <= 0.98
    certain = itm_accuracy(logits.index_fill(2, torch.tensor([1]), 1.0), truth, hard)
    assert certain.value == 0.5 and certain.interval[0] < 0.5 < certain.interval[1]


def test_records_of_one_image_are_joined_and_those_without_id_are_not():
    records = Library(
        [
            Record(b"a", ("one",), image_id=0),
            Record(b"b", ("two",), name="second"),
            Record(b"a", ("three",), image_id=0),
            Record(b"c", ("four",), name="fourth"),
        ]
    )
    gallery = Gallery.of(records)
    assert gallery.images == [b"a", b"b", b"c"]
    assert (gallery.texts, gallery.owner) == (["one", "two", "three", "four"], [0, 1, 0, 2])
    assert gallery.names == [0, "second", "fourth"]


@pytest.mark.parametrize("records", [[Record(b"a", ("one",))], [Record(b"a", ("one",)), Record(b"b", question="?")]])
def test_what_cannot_be_retrieved_is_refused(records):
    with pytest.raises(UserError, match=r"two images|no text"):
        Gallery.of(Library(records))


def test_it_is_offered_for_text_bridges_only():
    offer = discover().catalog.find(EVALUATION, "retrieval")
    assert offer.requires == {TEXT_BRIDGE}
