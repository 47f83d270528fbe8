"""Negatives: never of the same image, drawn as often as they weigh, and missing where there is none."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmbridge_objectives import MatchOptions
from mmbridge_objectives.itm import ImageTextMatching
from mmbridge_objectives.negatives import draw, hard, uniform
from torch.nn import functional as F
from torch.testing import assert_close
from toys.stage1 import toy_batch, toy_step

ALMOST_ONE = 1 - 2.0**-53
NUMBERS = st.one_of(st.sampled_from([0.0, 0.5, ALMOST_ONE]), st.floats(0, ALMOST_ONE))


@pytest.mark.parametrize("kind", ["hard", "uniform"])
@settings(deadline=None, max_examples=40)
@given(ids=st.lists(st.integers(0, 4), min_size=2, max_size=8), seed=st.integers(0, 99))
def test_a_negative_never_shows_the_same_image(kind, ids, seed):
    step = toy_step(toy_batch(len(ids), ids), seed=seed)
    images, texts = ImageTextMatching(MatchOptions(negatives=kind)).mine(step)
    for drawn in (images.tolist(), texts.tolist()):
        for row, column in enumerate(drawn):
            assert ids[column] != ids[row] or (set(ids) == {ids[row]} and column == row)


@settings(deadline=None)
@given(st.data())
def test_a_column_without_weight_is_never_drawn(data):
    columns = data.draw(st.integers(1, 6))
    weight = st.one_of(st.just(0.0), st.floats(1e-300, 1))
    weights = torch.tensor([data.draw(st.lists(weight, min_size=columns, max_size=columns))], dtype=torch.float64)
    number = torch.tensor([data.draw(NUMBERS)], dtype=torch.float64)
    drawn = int(draw(weights, number, torch.tensor([-1])))
    assert (drawn == -1) if not weights.any() else weights[0, drawn] > 0


@settings(deadline=None)
@given(st.floats(1e-200, 1e9))
def test_the_largest_number_draws_the_last_column_that_weighs(total):
    weights = torch.tensor([[total, 0.0]], dtype=torch.float64)
    assert int(draw(weights, torch.tensor([ALMOST_ONE], dtype=torch.float64), torch.tensor([-1]))) == 0


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=6).filter(any))
def test_columns_are_drawn_as_often_as_they_weigh(counts):
    rows = sum(counts)
    weights = torch.tensor(counts, dtype=torch.float64).expand(rows, -1) * 0.7
    grid = (torch.arange(rows, dtype=torch.float64) + 0.5) / rows
    assert draw(weights, grid, torch.zeros(rows, dtype=torch.long)).bincount(minlength=len(counts)).tolist() == counts


def test_hard_weights_are_a_softmax_over_candidates_alone():
    logits, candidates = torch.tensor([[9.0, 1.0, 2.0]]), torch.tensor([[False, True, True]])
    expected = torch.tensor([1.0, 2.0]).double().softmax(0)
    assert_close(hard(logits, candidates)[0], torch.cat([torch.zeros(1), expected]))
    assert uniform(logits, candidates).tolist() == [[0, 1, 1]]


def test_candidates_much_worse_than_the_rest_still_share_all_the_weight():
    logits, candidates = torch.tensor([[1e4, -1e4, -1e4]]), torch.tensor([[False, True, True]])
    assert hard(logits, candidates).tolist() == [[0, 0.5, 0.5]]


def test_hard_negatives_are_the_similar_ones():
    step = toy_step(toy_batch(8))
    with torch.no_grad():
        step.bridge.temp.fill_(1e-4)
    images, texts = ImageTextMatching(MatchOptions()).mine(step)
    similarity = step.similarity()
    for drawn, logits in ((images, similarity.text_to_image), (texts, similarity.image_to_text)):
        assert torch.equal(drawn, logits.masked_fill(similarity.same_image, -torch.inf).argmax(1))


def test_loss_is_that_of_the_pairs_written_down():
    step = toy_step(toy_batch(4))
    objective = ImageTextMatching(MatchOptions())
    wrong_images, wrong_texts = torch.tensor([1, 2, 3, 0]), torch.tensor([3, 3, 0, 1])
    own = torch.arange(4)
    logits = step.bridge.match(
        step.image.select(torch.cat([own, wrong_images, own])),
        step.captions.select(torch.cat([own, own, wrong_texts])),
    )
    labels = torch.tensor([1] * 4 + [0] * 8)
    result = objective.score(step, wrong_images, wrong_texts)
    assert objective.count(step) == 12
    assert_close(result.total, F.cross_entropy(logits, labels, reduction="sum"))
    assert_close(result.metrics["accuracy"], (logits.argmax(1) == labels).float().sum())


def test_a_batch_of_one_image_trains_on_true_pairs_only(mean):
    step = toy_step(toy_batch(3, [5, 5, 5]))
    loss, _ = mean(ImageTextMatching(MatchOptions()), step)
    positives = F.cross_entropy(step.bridge.match(step.image, step.captions), torch.ones(3).long())
    assert_close(loss, positives)
    loss.backward()
    assert step.bridge.match_head.weight.grad.isfinite().all()


def test_drawing_teaches_nothing():
    step = toy_step(toy_batch(4))
    ImageTextMatching(MatchOptions())(step).total.backward()
    assert step.bridge.temp.grad is None
    assert step.bridge.image_head.weight.grad is None
