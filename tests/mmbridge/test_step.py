"""One step: everything once, the same on one rank and on two, and means that are means."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmbridge_registry import Bridge, Objective, ObjectiveLoss, Tokens
from torch import nn
from toys.ranks import on_ranks
from toys.stage1 import GATHERS, losses_and_gradients, several_cases, stage1_model, toy_batch, toy_step
from toys.text_bridge import ToyBridge, ToyEncoder

from mmbridge.collectives import Collectives
from mmbridge.model import BridgedModel, StageModel

torch.set_num_threads(1)

CASES = [
    # dtype, gather, shared images, trained encoder
    (torch.float32, "exact", True, False),
    (torch.float64, "exact", False, False),
    (torch.float64, "exact", True, True),
    (torch.float64, "nograd", False, False),
    (torch.float64, "nograd", True, True),
]

SHARED = [0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 10, 11, 12, 12, 14, 15]
"""Image ids of 16 rows: two images on both ranks, one twice on the second."""


@pytest.fixture(scope="module")
def two_ranks():
    """Cases by name, each with what one rank and what two ranks make of it."""
    cases = {case: (toy_batch(16, SHARED if case[2] else None), case[0], case[1], case[3]) for case in CASES}
    ranks = on_ranks(2, several_cases, list(cases.values()))
    return {
        name: (losses_and_gradients(Collectives(), *case), [rank[number] for rank in ranks])
        for number, (name, case) in enumerate(cases.items())
    }


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=str)
def test_two_ranks_are_one(two_ranks, case):
    (metrics, gradients), ranks = two_ranks[case]
    dtype, _, _, encoder = case
    tolerance = {torch.float32: 1e-7, torch.float64: 1e-15}[dtype]
    assert set(gradients) >= {"model.bridge.temp", "model.bridge.match_head.weight", "model.bridge.start"}
    assert ("model.vision_encoder.map.weight" in gradients) == encoder
    for rank_metrics, rank_gradients in ranks:
        for name, value in metrics.items():
            # Metrics are float32, whatever the model is.
            of_metric = 1e-6 if "/" in name else tolerance
            torch.testing.assert_close(rank_metrics[name], value, rtol=10 * of_metric, atol=of_metric)
        assert set(rank_gradients) == set(gradients)
        for name, gradient in gradients.items():
            assert (rank_gradients[name] - gradient).norm() <= 10 * tolerance * gradient.norm(), name


@pytest.mark.slow
def test_gathers_give_one_loss_and_two_gradients(two_ranks):
    exact, nograd = (two_ranks[torch.float64, gather, False, False][0] for gather in GATHERS)
    assert exact[0]["loss"] == nograd[0]["loss"]
    name = "model.bridge.image_head.weight"
    assert (exact[1][name] - nograd[1][name]).norm() > 0.1 * exact[1][name].norm()


def test_one_image_pass_serves_all_three_objectives():
    stage = stage1_model(Collectives(), torch.float32, "exact")
    step = stage.step(toy_batch(8), 7)
    stage(step, stage.weights(step))
    bridge, encoder = stage.model.bridge, stage.model.vision_encoder
    assert isinstance(bridge, ToyBridge)
    assert isinstance(encoder, ToyEncoder)
    assert encoder.calls == 1
    tokens = int(toy_batch(8).prepared["captions"].mask[:, 1:].sum())
    assert bridge.counts == {"query rows": 8, "memory rows": 8, "text rows": 8, "vocabulary rows": tokens}


def test_matching_alone_needs_no_query_pass():
    step = toy_step(toy_batch(6))
    step.bridge.match(step.images(torch.tensor([3, 0])), step.texts(torch.tensor([1, 5])))
    assert step.bridge.counts == {"memory rows": 6}


def test_similarity_is_made_once_per_kind_and_agrees():
    step = toy_step(toy_batch(6))
    exact, nograd = step.similarity("exact"), step.similarity("nograd")
    assert step.similarity("exact") is exact
    assert step.similarity("nograd") is nograd
    assert torch.equal(exact.image_to_text, nograd.image_to_text)
    torch.testing.assert_close(exact.image_to_text, exact.text_to_image.T)
    assert step.bridge.counts["text rows"] == 6


@torch.no_grad()
def test_similarity_is_the_best_query_over_temperature():
    step = toy_step(toy_batch(5, [0, 1, 0, 3, 3]))
    images = step.bridge.embed_image(step.image)
    texts = step.bridge.embed_text(step.bridge.encode_text(step.captions))
    similarity = step.similarity()
    for image in range(5):
        for text in range(5):
            best = max(float(query @ texts[text]) for query in images[image])
            assert float(similarity.image_to_text[image, text]) == pytest.approx(best / 0.2, rel=1e-5)
    pairs = {(0, 2), (2, 0), (3, 4), (4, 3)} | {(row, row) for row in range(5)}
    assert {tuple(pair) for pair in similarity.same_image.nonzero().tolist()} == pairs
    assert similarity.own.tolist() == [0, 1, 2, 3, 4]


class Mirror(Collectives):
    """Ranks that all hold the same rows, without processes."""

    def gather(self, rows):
        return torch.cat([rows] * self.world_size)

    gather_constant = gather


def test_local_rows_know_their_global_number():
    similarity = toy_step(toy_batch(3), Mirror(rank=1, world_size=3)).similarity()
    assert similarity.own.tolist() == [3, 4, 5]
    assert similarity.image_to_text.shape == similarity.text_to_image.shape == similarity.same_image.shape == (3, 9)
    assert similarity.same_image.gather(1, similarity.own[:, None]).all()


def test_similarity_stays_in_float32_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        step = toy_step(toy_batch(4))
        similarity = step.similarity()
        embedded = step.bridge.embed_text(step.bridge.encode_text(step.captions)).float()
        images = step.bridge.embed_image(step.image).float()
    assert similarity.image_to_text.dtype == torch.float32
    expected = (images @ embedded.T).amax(1) / step.bridge.temperature
    torch.testing.assert_close(similarity.image_to_text, expected, rtol=1e-6, atol=1e-6)


def test_frozen_encoder_leaves_no_graph_and_a_trained_one_does():
    assert not toy_step(toy_batch(2)).features.requires_grad
    assert toy_step(toy_batch(2), vision_encoder=ToyEncoder(trained=True)).features.requires_grad


def test_features_come_in_the_bridges_dtype():
    step = toy_step(toy_batch(2), vision_encoder=ToyEncoder().bfloat16())
    assert step.features.dtype == torch.float32


class Plain(Bridge):
    """A bridge without text."""

    width, num_queries = 5, 4

    def __init__(self):
        super().__init__()
        self.map = nn.Linear(5, 5)

    def forward(self, features):
        return self.map(features)


def test_what_is_missing_is_named():
    step = toy_step(toy_batch(2), bridge=Plain())
    with pytest.raises(TypeError, match="Plain reads no text"):
        step.image  # noqa: B018
    with pytest.raises(TypeError, match="no language model"):
        step.language_model  # noqa: B018
    with pytest.raises(TypeError, match="no projection"):
        step.soft_prompt  # noqa: B018


@pytest.mark.parametrize("bridge", [Plain, ToyBridge])
def test_soft_prompt_is_what_the_model_gives_at_inference(bridge):
    torch.manual_seed(0)
    part, encoder, projection = bridge(), ToyEncoder(), nn.Linear(bridge.width, 4)
    step = toy_step(toy_batch(3), bridge=part, vision_encoder=encoder, projection=projection)
    model = BridgedModel(encoder, part)
    model.projection = projection
    torch.testing.assert_close(step.soft_prompt, model.soft_prompt(encoder(step.batch.pixels)))
    assert step.soft_prompt is step.soft_prompt


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**40), st.integers(0, 10**6), st.sampled_from(["a", "b"]), st.sampled_from([1, 2, 4, 8]))
def test_draws_do_not_know_how_rows_are_divided(seed, number, stream, parts):
    batch = toy_batch(8)
    whole = toy_step(batch, seed=seed, step_number=number).uniform(stream)
    pieces = [
        toy_step(part, Collectives(rank, parts), seed=seed, step_number=number).uniform(stream)
        for rank, part in enumerate(batch.split(8 // parts))
    ]
    assert torch.equal(torch.cat(pieces), whole)
    assert whole.dtype == torch.float64
    assert ((whole >= 0) & (whole < 1)).all()


def test_draws_change_with_every_part_of_their_key():
    batch = toy_batch(8)
    draws = [
        toy_step(batch, seed=seed, step_number=number).uniform(stream)
        for seed in (0, 1)
        for number in (0, 1)
        for stream in ("a", "b")
    ]
    assert len({tuple(draw.tolist()) for draw in draws}) == 8
    assert len(set(torch.cat(draws).tolist())) == 64


class Words(Objective):
    """Adds up the words of captions, weighed by a parameter of the bridge; has nothing to count in some batches."""

    passes = frozenset({"contrast"})

    def prepare(self, draft):
        raise NotImplementedError

    def count(self, step):
        return step.captions.mask.sum()

    def forward(self, step):
        total = step.captions.mask.sum() * step.bridge.temperature
        return ObjectiveLoss(total, {"words": total.detach()})


def test_sums_become_means_over_what_is_counted():
    stage = StageModel(BridgedModel(ToyEncoder(), ToyBridge()), {"words": Words()}, Collectives(), seed=3)
    step = stage.step(toy_batch(5), 7)
    result = stage(step, stage.weights(step))
    assert float(result.loss) == float(result.metrics["words/words"]) == pytest.approx(0.2)
    result.loss.backward()
    assert float(stage.model.bridge.temp.grad) == pytest.approx(1)


def test_mean_of_nothing_is_zero():
    stage = StageModel(BridgedModel(ToyEncoder(), ToyBridge()), {"words": Words()}, Collectives(), seed=3)
    nothing = Tokens(torch.ones(2, 3).long(), torch.zeros(2, 3).bool())
    step = stage.step(replace(toy_batch(2), prepared={"captions": nothing}), 7)
    assert float(stage(step, stage.weights(step)).loss) == 0


def test_images_on_one_rank_are_picked_not_computed():
    step = toy_step(toy_batch(4))
    picked = step.images(torch.tensor([2, 2, 0]))
    assert torch.equal(picked.queries, step.image.queries[[2, 2, 0]])
    assert step.bridge.counts["query rows"] == 4
