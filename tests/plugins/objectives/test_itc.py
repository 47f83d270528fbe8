"""Image-text contrast against torch's own cross-entropy, and its targets by property."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmbridge_objectives import ContrastOptions
from mmbridge_objectives.itc import ImageTextContrast, soft_targets
from torch.nn import functional as F
from torch.testing import assert_close
from toys.stage1 import toy_batch, toy_step


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_unique_images_give_smoothed_cross_entropy(mean, smoothing):
    step = toy_step(toy_batch(7))
    loss, metrics = mean(ImageTextContrast(ContrastOptions(label_smoothing=smoothing)), step)
    similarity, own = step.similarity(), torch.arange(7)
    both = (similarity.image_to_text, similarity.text_to_image)
    expected = sum(F.cross_entropy(logits, own, label_smoothing=smoothing) for logits in both) / 2
    assert_close(loss, expected)
    accuracy = [(logits.argmax(1) == own).float().mean() for logits in both]
    assert_close(metrics["image_to_text_accuracy"], accuracy[0])
    assert_close(metrics["text_to_image_accuracy"], accuracy[1])


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=9), st.floats(0, 0.99))
def test_targets_are_a_distribution_alike_for_all_positives(ids, smoothing):
    numbers = torch.tensor(ids)
    same = numbers[:, None] == numbers
    targets = soft_targets(same, smoothing)
    assert_close(targets.sum(1), torch.ones(len(ids), dtype=torch.float64))
    for row, positive in zip(targets, same, strict=True):
        assert row[positive].unique().numel() == 1
        assert_close(row[~positive], torch.full_like(row[~positive], smoothing / len(ids)))


def test_a_caption_of_the_same_image_is_a_hit():
    step = toy_step(toy_batch(4, [1, 1, 1, 1]))
    assert ImageTextContrast(ContrastOptions())(step).metrics["image_to_text_accuracy"] == 4


def test_nograd_trains_each_side_from_one_direction():
    step = toy_step(toy_batch(5))
    (ImageTextContrast(ContrastOptions(gather="nograd"))(step).total / 5).backward()
    alone = toy_step(toy_batch(5))
    similarity = alone.similarity()
    F.cross_entropy(similarity.image_to_text, torch.arange(5), label_smoothing=0.1).div(2).backward()
    # Seen from the image side the two agree: only image_to_text reaches it.
    assert_close(step.bridge.image_head.weight.grad, alone.bridge.image_head.weight.grad)
    assert not torch.allclose(step.bridge.text_head.weight.grad, alone.bridge.text_head.weight.grad)
