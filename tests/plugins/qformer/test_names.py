"""LAVIS' names, in both directions, and weights in transformers' own Q-Former."""

import pytest
import torch
from mmbridge_qformer.lavis_names import ALIASES, BUFFERS, from_lavis, state_from_lavis, state_to_lavis, to_lavis
from torch.testing import assert_close


def test_every_tensor_goes_and_comes_back(bridge32, lavis_state):
    ours = state_from_lavis(lavis_state)
    assert set(ours) == set(bridge32.state_dict())
    back = state_to_lavis(ours)
    assert set(back) | BUFFERS == set(lavis_state)
    assert all(back[name].equal(lavis_state[name]) for name in back)


def test_names_are_one_to_one(bridge32):
    names = list(bridge32.state_dict())
    theirs = [to_lavis(name) for name in names]
    assert len(set(theirs)) == len(names)
    assert [from_lavis(name) for name in theirs] == names
    assert not set(theirs) & set(ALIASES)


@pytest.mark.parametrize(
    "name",
    [
        "visual_encoder.blocks.0.norm1.weight",
        "opt_proj.weight",
        "t5_proj.bias",
        "Qformer.bert.embeddings.position_ids",
        "Qformer.bert.embeddings.token_type_embeddings.weight",
        "Qformer.bert.encoder.layer.3.unheard.of.weight",
        "xtemp",
    ],
)
def test_what_is_not_the_qformers_is_left(name):
    assert from_lavis(name) is None


@pytest.mark.parametrize("name", ["layers.0.unheard_of.weight", "projection.weight"])
def test_a_name_that_is_not_ours_is_refused(name):
    with pytest.raises(KeyError, match=name):
        to_lavis(name)


def test_transformers_qformer_with_our_weights_gives_our_queries(bridge32, theirs, golden):
    features = bridge32.image_norm(golden["features"])
    with torch.no_grad():
        queries = bridge32.queries.expand(len(features), -1, -1)
        given = theirs(query_embeds=queries, encoder_hidden_states=features).last_hidden_state
        assert_close(bridge32(golden["features"]), given, atol=1e-5, rtol=1e-5)
