"""Losses and gradients of stage 1 against the original implementation, float64."""

import pytest
import torch
from mmbridge_objectives import ContrastOptions, GenerationOptions, MatchOptions, itc
from mmbridge_objectives.itc import ImageTextContrast
from mmbridge_objectives.itg import ImageGroundedGeneration
from mmbridge_objectives.itm import ImageTextMatching
from mmbridge_objectives.negatives import hard
from mmbridge_qformer.lavis_names import to_lavis
from torch.testing import assert_close

CLOSE = {"rtol": 1e-12, "atol": 1e-13}


def three_losses(step, negatives, gather="exact"):
    """Give the losses by name; `negatives` [12] are the original's draws: first an image per text."""
    itc, itg = ImageTextContrast(ContrastOptions(gather=gather)), ImageGroundedGeneration(GenerationOptions())
    itm = ImageTextMatching(MatchOptions())
    return {
        "itc": itc(step).total / itc.count(step),
        "itg": itg(step).total / itg.count(step),
        "itm": itm.score(step, *negatives.view(2, 6)).total / itm.count(step),
    }


@pytest.mark.parametrize("gather", ["exact", "nograd"])
def test_losses(step_of, golden, gather):
    losses = three_losses(step_of(), golden["hard_negative_draws"], gather)
    for name, loss in losses.items():
        assert_close(loss, golden[f"loss_{name}.f64"], **CLOSE)
    assert_close(sum(losses.values()), golden["loss.f64"], **CLOSE)


@pytest.mark.parametrize("gather", ["exact", "nograd"])
def test_all_gradients_of_the_sum(step_of, bridge, golden, gradients, gather):
    step = step_of()
    sum(three_losses(step, golden["hard_negative_draws"], gather).values()).backward()
    ours = {to_lavis(name): parameter.grad for name, parameter in bridge.named_parameters()}
    ours["features"] = next(step.setting.vision_encoder.parameters()).grad
    theirs = gradients[gather]
    assert ours.keys() == theirs.keys()
    for name, gradient in theirs.items():
        # A key's bias shifts all scores of a row alike: its gradient is zero but for rounding.
        assert (ours[name] - gradient).norm() <= 1e-11 * gradient.norm() + 1e-14, name


def test_the_two_gathers_differ_in_the_goldens_too(gradients):
    exact, nograd = (gradients[gather]["vision_proj.weight"] for gather in ("exact", "nograd"))
    assert (exact - nograd).norm() > 0.5 * exact.norm()


def test_shared_images(step_of, golden):
    losses = three_losses(step_of(golden["imageid.image_id"]), golden["imageid.hard_negative_draws"])
    assert_close(losses["itm"], golden["imageid.loss_itm.f64"], **CLOSE)
    assert_close(losses["itg"], golden["imageid.loss_itg.f64"], **CLOSE)
    # The original makes these targets in float32, whatever the model's dtype.
    assert_close(losses["itc"], golden["imageid.loss_itc.f64"], rtol=2e-8, atol=0)


def test_shared_images_with_targets_rounded_as_the_original_does(mean, step_of, golden, monkeypatch):
    monkeypatch.setattr(
        itc,
        "soft_targets",
        lambda same, smoothing: (
            (1 - smoothing) * same.float() / same.sum(1, keepdim=True)
            + smoothing * torch.ones_like(same, dtype=torch.float32) / len(same)
        ),
    )
    loss = mean(ImageTextContrast(ContrastOptions()), step_of(golden["imageid.image_id"]))[0]
    assert_close(loss, golden["imageid.loss_itc.f64"], **CLOSE)


@pytest.mark.parametrize("variant", ["", "imageid."])
def test_weights_of_hard_negatives(step_of, golden, variant):
    similarity = step_of(golden["imageid.image_id"] if variant else None).similarity()
    candidates = ~similarity.same_image
    for name, logits in (("t2i", similarity.text_to_image), ("i2t", similarity.image_to_text)):
        weights = hard(logits, candidates)
        assert_close(weights, golden[f"{variant}weights_{name}.f64"], **CLOSE)
        assert (weights[~candidates] == 0).all()


def test_itm_reaches_no_text_ffn_of_the_last_layer_and_itg_no_query_ffn(step_of, bridge, golden):
    parameters = dict(bridge.named_parameters())
    last = {name: tensor for name, tensor in parameters.items() if name.startswith("layers.3.")}
    for objective, untouched in (("itm", "text_ffn"), ("itg", "query_ffn")):
        loss = three_losses(step_of(), golden["hard_negative_draws"])[objective]
        found = torch.autograd.grad(loss, list(last.values()), allow_unused=True)
        zero = {name for name, gradient in zip(last, found, strict=True) if gradient is None or not gradient.any()}
        assert {name for name in last if untouched in name} <= zero
        other = {"text_ffn": "query_ffn", "query_ffn": "text_ffn"}[untouched]
        assert not zero & {name for name in last if other in name}


@pytest.mark.parametrize("objective", ["itc", "itg", "itm"])
def test_each_loss_reaches_what_its_passes_promise(step_of, bridge, golden, objective):
    passes = {"itc": "contrast", "itg": "decode", "itm": "match"}[objective]
    loss = three_losses(step_of(), golden["hard_negative_draws"])[objective]
    loss.backward()
    reached = {name for name, parameter in bridge.named_parameters() if parameter.grad is not None}
    assert reached == {name for name, _ in bridge.parameters_for(frozenset({passes}))}
