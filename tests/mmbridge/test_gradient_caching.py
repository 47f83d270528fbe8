"""Micro-batches change memory and nothing else: the reference is the plain step on the whole batch, in float64."""

from itertools import product

import pytest
import torch
from mmbridge_registry import Objective, ObjectiveLoss
from torch import nn
from toys.in_parts import OBJECTIVES, batch_of, freeze_what_is_not_reached, several_steps, stage_of, steps
from toys.ranks import on_ranks
from toys.text_bridge import ToyBridge, ToyEncoder

from mmbridge.collectives import Collectives
from mmbridge.engine import Engine
from mmbridge.micro_batches import backward
from mmbridge.step_in_parts import StepInParts

torch.set_num_threads(1)

STAGES = [
    ("itc",),
    ("nograd",),
    ("itg",),
    ("itm",),
    ("uniform",),
    ("lm",),
    ("prefix_lm",),
    ("sigmoids",),
    ("longest",),
    ("itc", "itm"),
    ("itg", "itc"),
    ("itm", "itg"),
    ("itc", "itg", "itm"),
    ("nograd", "itg", "itm"),
    ("itc", "itg", "itm", "lm"),
    ("longest", "sigmoids", "itm", "itc"),
]
HERE = Engine(torch.device("cpu"), Collectives(), None)


def assert_same(found, expected):
    """Compare what steps logged, parameters and gradients."""
    for logged, whole in zip(found[0], expected[0], strict=True):
        assert logged.keys() == whole.keys()
        for name, value in whole.items():
            # Metrics are float32, whatever the model is.
            close = 1e-6 if "/" in name else 1e-13
            torch.testing.assert_close(logged[name], value, rtol=close, atol=close, msg=lambda m, n=name: f"{n}: {m}")
    assert found[1].keys() == expected[1].keys()
    for name, value in expected[1].items():
        assert (found[1][name] - value).norm() <= 1e-12 * value.norm() + 1e-14, name


@pytest.mark.parametrize("size", [1, 4, 5, 6])
@pytest.mark.parametrize("names", STAGES, ids="+".join)
def test_a_step_in_parts_is_the_step(names, size):
    assert_same(steps(Collectives(), names, size), steps(Collectives(), names, None))


@pytest.mark.parametrize("names", [("itc",), ("itm",), ("itc", "itg", "itm"), ("lm",)], ids="+".join)
def test_a_trained_encoder_gets_the_same_gradient(names):
    expected = steps(Collectives(), names, None, True)
    assert expected[1]["gradient of model.vision_encoder.map.weight"].any()
    assert_same(steps(Collectives(), names, 4, True), expected)


def test_several_updates_end_at_the_same_weights():
    names = ("itc", "itg", "itm")
    assert_same(steps(Collectives(), names, 3, count=5), steps(Collectives(), names, None, count=5))


@pytest.mark.slow
def test_two_ranks_in_parts_are_one_rank_whole():
    stages = [("itc", "itg", "itm"), ("itm",), ("lm",), ("longest", "sigmoids", "itm", "itc")]
    cases = [
        *product(stages, (2, 4), (False, True), (2,)),
        (("nograd", "itg", "itm"), 2),
        (("nograd", "itg", "itm"), None),
    ]
    ranks = on_ranks(2, several_steps, cases)
    for number, (names, _, *rest) in enumerate(cases[:-2]):
        expected = steps(Collectives(), names, None, *rest)
        for rank in ranks:
            assert_same(rank[number], expected)
    for rank in ranks:  # without gradient through the gather, two ranks are not one, but parts are still the whole
        assert_same(rank[-2], rank[-1])


class Dropping(ToyBridge):
    """A toy bridge with dropout wherever it embeds."""

    def embed_image(self, image):
        return super().embed_image(image) * nn.functional.dropout(torch.ones(3, 6), 0.5)

    def embed_text(self, hidden):
        return super().embed_text(hidden) * nn.functional.dropout(torch.ones(6), 0.5)


def test_dropout_is_drawn_again_as_it_was():
    made = {}

    class Watched(Dropping):
        def embed_image(self, image):
            embedded = super().embed_image(image)
            made.setdefault(embedded.requires_grad, []).append(embedded.detach())
            return embedded

    stage = stage_of(Collectives(), ("itc", "itg", "itm"), bridge=Watched())
    backward(HERE, stage, batch_of(0), 7, 4)
    assert [len(embedded) for embedded in made[False]] == [len(embedded) for embedded in made[True]] == [4, 4, 4]
    assert all(torch.equal(one, other) for one, other in zip(made[False], made[True], strict=True))
    masks = [tuple((embedded == 0).flatten().tolist()) for embedded in made[True]]
    assert len(set(masks)) > 1


@pytest.mark.parametrize("names", [("itc", "itg", "itm"), ("lm",), ("itm",)], ids="+".join)
def test_a_frozen_encoder_sees_every_row_once(names):
    rows = []

    class Watched(ToyEncoder):
        def forward(self, pixels):
            rows.append(len(pixels))
            return super().forward(pixels)

    stage = stage_of(Collectives(), names)
    stage.model.vision_encoder = Watched().double()
    backward(HERE, stage, batch_of(0), 7, 5)
    assert rows == [5, 5, 2]


def test_no_more_rows_than_a_micro_batch_have_a_graph():
    graphs = []

    class Watched(ToyBridge):
        def look_at(self, image, tokens):
            if torch.is_grad_enabled():
                graphs.append(len(tokens))

        def decode_text(self, image, tokens):
            self.look_at(image, tokens)
            return super().decode_text(image, tokens)

        def encode_text(self, tokens):
            self.look_at(None, tokens)
            return super().encode_text(tokens)

    stage = stage_of(Collectives(), ("itc", "itg", "itm"), bridge=Watched())
    backward(HERE, stage, batch_of(0), 7, 4)
    assert graphs == [4] * 6


def test_written_features_are_split_too():
    batch = batch_of(0)
    stage = stage_of(Collectives(), ("itc", "itg", "itm"))
    encoded = stage.model.vision_encoder(batch.pixels).detach()
    given = type(batch)(None, batch.image_ids, batch.positions, batch.prepared, encoded)
    losses = [backward(HERE, stage, rows, 7, 4).loss for rows in (batch, given)]
    assert losses[0] == losses[1]


def test_autocast_forgets_weights_that_were_cast_without_graph():
    here = Engine(torch.device("cpu"), Collectives(), torch.bfloat16)
    gradients = []
    for size in (None, 4):
        stage = stage_of(Collectives(), ("itc", "itg", "itm")).float()
        freeze_what_is_not_reached(stage, batch_of(0))
        backward(here, stage, batch_of(0), 7, size)
        gradients.append({name: tensor.grad for name, tensor in stage.named_parameters() if tensor.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        assert (gradients[1][name] - gradient).norm() <= 0.05 * gradient.norm() + 1e-3, name


class Leaking(Objective):
    """Lets gradient into the similarities and does not say so."""

    passes = frozenset({"decode"})

    def prepare(self, draft):
        raise NotImplementedError

    def forward(self, step):
        return ObjectiveLoss(step.similarity().image_to_text.sum() + step.image.queries.sum())


def test_gradient_into_the_similarities_must_be_declared(monkeypatch):
    monkeypatch.setitem(OBJECTIVES, "leaking", Leaking)
    with pytest.raises(TypeError, match="'contrast'"):
        backward(HERE, stage_of(Collectives(), ("leaking",)), batch_of(0), 7, 4)


def test_parts_cover_a_batch_that_they_do_not_divide():
    stage = stage_of(Collectives(), ("itg",))
    batch = batch_of(0)
    whole = StepInParts(batch, stage.step(batch, 7).setting, 5, lambda number: None)
    assert torch.equal(torch.cat([part.batch.positions for part in whole.parts(carry=False)]), batch.positions)
    assert whole.number_of_parts == 3
