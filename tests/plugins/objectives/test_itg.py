"""Image-grounded generation: the mean over real tokens, chunk by chunk or at once."""

from dataclasses import replace

import pytest
import torch
from mmbridge_objectives import GenerationOptions
from mmbridge_objectives.itg import ImageGroundedGeneration, chunked
from mmbridge_registry import Tokens
from torch.nn import functional as F
from torch.testing import assert_close
from toys.stage1 import toy_batch, toy_step


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_is_smoothed_cross_entropy_over_real_tokens(mean, smoothing):
    step = toy_step(toy_batch(5))
    hidden = step.bridge.decode_text(step.image, step.captions)
    logits = step.bridge.vocabulary_logits(hidden[:, :-1])
    labels = step.captions.ids[:, 1:].masked_fill(~step.captions.mask[:, 1:], -100)
    expected = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), label_smoothing=smoothing)
    assert_close(mean(ImageGroundedGeneration(GenerationOptions(label_smoothing=smoothing)), step)[0], expected)


def token_losses(table, hidden, targets):
    return F.cross_entropy(hidden @ table.T, targets, reduction="sum")


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_chunks_change_neither_loss_nor_gradient(size):
    torch.manual_seed(0)
    hidden, targets = torch.randn(20, 4, dtype=torch.float64), torch.randint(9, (20,))
    table = torch.randn(9, 4, dtype=torch.float64)
    found = []
    for chunk in (size, 1000):
        inputs = (hidden.clone().requires_grad_(), table.clone().requires_grad_())
        loss = chunked(
            lambda h, t, w=inputs[1]: F.cross_entropy(h @ w.T, t, reduction="sum"), inputs[0], targets, chunk
        )
        found.append((loss, *torch.autograd.grad(loss, inputs)))
    for one, other in zip(*found, strict=True):
        assert_close(one, other, rtol=1e-13, atol=1e-13)


def test_captions_of_one_token_have_nothing_to_predict():
    alone = Tokens(torch.ones(2, 1).long(), torch.ones(2, 1).bool())
    step = toy_step(replace(toy_batch(2), prepared={"captions": alone}))
    loss = ImageGroundedGeneration(GenerationOptions())(step).total
    loss.backward()
    assert loss == 0
    assert not step.bridge.words.weight.grad.any()
