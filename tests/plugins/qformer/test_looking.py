"""Where queries look: as transformers tells it, and without a trace in what is computed."""

import torch
from torch.testing import assert_close


def test_weights_are_those_of_transformers(bridge32, theirs, golden):
    features = bridge32.image_norm(golden["features"])
    with torch.no_grad():
        ours = bridge32.attention(golden["features"])
        queries = bridge32.queries.expand(len(features), -1, -1)
        given = theirs(query_embeds=queries, encoder_hidden_states=features, output_attentions=True).cross_attentions
    want = torch.stack([weights.mean(1) for weights in given if weights is not None])
    assert ours.shape == (2, 6, 8, 11)  # layers 0 and 2 of four look at the image
    assert (want - 1 / 11).abs().max() > 0.01, "the queries look somewhere"
    assert_close(ours, want, atol=1e-6, rtol=0)


def test_weights_explain_what_a_layer_gives(bridge, features):
    """Values weighed by them, head by head, are what the kernel computes."""
    attention = bridge.layers[0].cross_attention
    with torch.no_grad():
        source = attention.keys_values(bridge.image_norm(features))
        rows = torch.randn(6, 8, 64, dtype=torch.float64)
        seen = attention.weights(rows, source) @ source[1]
        by_hand = attention.norm(rows + attention.out(seen.transpose(1, 2).flatten(2)))
        assert_close(attention(rows, source), by_hand, rtol=1e-12, atol=1e-12)


def test_nothing_is_left_behind(bridge32, golden):
    with torch.no_grad():
        before = bridge32(golden["features"])
        bridge32.attention(golden["features"])
        assert bridge32(golden["features"]).equal(before)
    assert not any(module._forward_pre_hooks for module in bridge32.modules())


def test_under_autocast_weights_are_float32_and_add_up_to_one(bridge32, golden):
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        weights = bridge32.attention(golden["features"].bfloat16())
    assert weights.dtype == torch.float32
    assert_close(weights.sum(-1), torch.ones(2, 6, 8), atol=1e-6, rtol=0)
