"""What is reused equals what would be computed anew; what stands beside a row does not change it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmbridge_qformer import QFormerOptions, build_qformer, masks
from mmbridge_qformer.attention import KeysValues
from mmbridge_qformer.masks import visibility
from mmbridge_registry import Tokens
from torch import Tensor
from torch.testing import assert_close

EXACT = {"rtol": 1e-12, "atol": 1e-12}
W, N = 12, 5


def tiny(**changes):
    torch.manual_seed(3)
    sizes = {"layers": 3, "width": 16, "heads": 2, "intermediate": 24, "positions": 20, "vocabulary": 30}
    options = QFormerOptions(queries=4, contrastive_width=6, init_std=0.3, max_text_length=20, **sizes | changes)
    return build_qformer(options, W).double().eval()


BRIDGE = tiny()


def batch(rows: int, length: int, seed: int = 0) -> tuple[Tensor, Tokens]:
    """Features and texts of unequal lengths, padded with ids that must never matter."""
    torch.manual_seed(seed)
    lengths = torch.randint(1, length + 1, (rows,))
    lengths[0] = length
    mask = torch.arange(length) < lengths[:, None]
    return torch.randn(rows, N, W, dtype=torch.float64), Tokens(torch.randint(1, 29, (rows, length)), mask)


def whole_at_once(bridge, features: Tensor, tokens: Tokens, reading: masks.Reading) -> Tensor:
    """Queries and text through every layer as one sequence under one mask: [B,Q+T,D]. No cache, no shortcut."""
    visible = visibility(reading, bridge.num_queries, tokens.mask)
    queries = bridge.embeddings.norm(bridge.queries).expand(len(features), -1, -1)
    rows = torch.cat([queries, bridge.embeddings.text(tokens.ids)], dim=1)
    for layer in bridge.layers:
        source: KeysValues = layer.self_attention.keys_values(rows)
        rows = layer.self_attention(rows, source, visible)
        queries, text = rows[:, : bridge.num_queries], rows[:, bridge.num_queries :]
        if layer.cross_attention is not None:
            normed = bridge.image_norm(features)
            queries = layer.cross_attention(queries, layer.cross_attention.keys_values(normed))
        rows = torch.cat([layer.query_ffn(queries), layer.text_ffn(text)], dim=1)
    return rows


@settings(max_examples=15, deadline=None)
@given(rows=st.integers(1, 4), length=st.integers(1, 6), seed=st.integers(0, 99))
def test_every_pass_equals_the_whole_sequence_under_its_mask(rows, length, seed):
    features, tokens = batch(rows, length, seed)
    with torch.no_grad():
        image, real = BRIDGE.encode_image(features), tokens.mask
        apart = whole_at_once(BRIDGE, features, tokens, "contrast")
        assert_close(image.queries, apart[:, :4], **EXACT)
        assert_close(BRIDGE.encode_text(tokens)[real], apart[:, 4:][real], **EXACT)
        started = Tokens(tokens.ids.index_fill(1, torch.tensor([0]), BRIDGE.geometry.start), tokens.mask)
        unilm = whole_at_once(BRIDGE, features, started, "decode")
        assert_close(image.queries, unilm[:, :4], **EXACT)
        assert_close(BRIDGE.decode_text(image, tokens)[real], unilm[:, 4:][real], **EXACT)
        assert_close(BRIDGE.fuse(image, tokens), whole_at_once(BRIDGE, features, tokens, "match")[:, :4], **EXACT)


def test_gradient_flows_through_the_reused_past_and_memory():
    features, tokens = batch(3, 5)
    real = tokens.mask
    started = Tokens(tokens.ids.index_fill(1, torch.tensor([0]), BRIDGE.geometry.start), tokens.mask)
    reused, whole = features.clone().requires_grad_(), features.clone().requires_grad_()
    BRIDGE.decode_text(BRIDGE.encode_image(reused), tokens)[real].pow(3).sum().backward()
    whole_at_once(BRIDGE, whole, started, "decode")[:, 4:][real].pow(3).sum().backward()
    assert reused.grad.abs().max() > 1e-6
    assert_close(reused.grad, whole.grad, rtol=1e-9, atol=1e-12)


@settings(max_examples=15, deadline=None)
@given(index=st.lists(st.integers(0, 3), min_size=1, max_size=7), again=st.booleans(), asked_before=st.booleans())
def test_selected_images_equal_images_computed_anew(index, again, asked_before):
    features, _ = batch(4, 2)
    with torch.no_grad():
        whole = BRIDGE.encode_image(features)
        if asked_before:
            assert whole.queries is whole.queries
        rows = torch.tensor(index)
        picked = whole.select(rows)
        if again:
            rows, picked = rows.flip(0), picked.select(torch.arange(len(index) - 1, -1, -1))
        anew = BRIDGE.encode_image(features[rows])
        assert len(picked) == len(anew) == len(index)
        assert_close(picked.queries, anew.queries, **EXACT)
        assert_close(picked.past, anew.past, **EXACT)
        for mine, theirs in zip(picked.memory, anew.memory, strict=True):
            assert (mine is None) == (theirs is None)
            if mine is not None:
                assert_close(mine, theirs, **EXACT)


def test_an_image_is_looked_at_once_however_often_it_is_used(monkeypatch):
    features, tokens = batch(3, 4)
    rows = []
    cross = [layer.cross_attention for layer in BRIDGE.layers if layer.cross_attention is not None]
    hooks = [attention.key.register_forward_hook(lambda *call: rows.append(len(call[1][0]))) for attention in cross]
    with torch.no_grad():
        image = BRIDGE.encode_image(features)
        assert rows == []  # nothing before it is asked for
        BRIDGE.embed_image(image), BRIDGE.decode_text(image, tokens)
        BRIDGE.match(image, tokens), BRIDGE.match(image.select(torch.tensor([2, 0, 1])), tokens)
    [hook.remove() for hook in hooks]
    assert rows == [3, 3]  # two layers look at the image, three images each, once


def test_matching_alone_runs_no_image_pass():
    features, tokens = batch(3, 4)
    calls = []
    hook = BRIDGE.layers[0].query_ffn.register_forward_hook(lambda *call: calls.append(1))
    with torch.no_grad():
        BRIDGE.match(BRIDGE.encode_image(features), tokens)
    hook.remove()
    assert calls == [1]


@pytest.mark.parametrize("wider", [0, 3])
def test_padding_and_neighbours_change_nothing(wider):
    features, tokens = batch(4, 6)
    tokens = Tokens(tokens.ids, tokens.mask).widen(6 + wider)
    with torch.no_grad():
        image = BRIDGE.encode_image(features)
        hidden, decoded = BRIDGE.encode_text(tokens), BRIDGE.decode_text(image, tokens)
        matched = BRIDGE.match(image, tokens)
        for row in range(4):
            length = int(tokens.mask[row].sum())
            alone = Tokens(tokens.ids[row : row + 1, :length], tokens.mask[row : row + 1, :length])
            own = BRIDGE.encode_image(features[row : row + 1])
            assert_close(hidden[row, :length], BRIDGE.encode_text(alone)[0], **EXACT)
            assert_close(decoded[row, :length], BRIDGE.decode_text(own, alone)[0], **EXACT)
            assert_close(matched[row], BRIDGE.match(own, alone)[0], **EXACT)


def test_dropout_works_in_training_only_and_reaches_attention():
    bridge = tiny(dropout=0.5, layers=1)
    features, _ = batch(3, 4)
    with torch.no_grad():
        assert bridge(features).equal(bridge(features))
        bridge.train()
        assert not bridge(features).equal(bridge(features))
        for module in bridge.modules():  # leave the attention's own dropout alone
            if isinstance(module, torch.nn.Dropout):
                module.eval()
        attention = bridge.layers[0].self_attention
        rows = torch.randn(3, 4, 16, dtype=torch.float64)
        source = attention.keys_values(rows)
        assert not attention(rows, source).equal(attention(rows, source))


def test_another_bridges_images_are_refused():
    features, tokens = batch(2, 3)
    with pytest.raises(TypeError, match="another bridge"):
        BRIDGE.match(object(), tokens)
    assert BRIDGE.match(BRIDGE.encode_image(features), tokens).shape == (2, 2)


def test_autocast_keeps_norms_and_embeddings_in_float32():
    bridge = tiny().float()
    features, tokens = batch(3, 4)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        image = bridge.encode_image(features.bfloat16())
        outputs = [image.queries, bridge.embed_image(image), bridge.embed_text(bridge.encode_text(tokens))]
        assert [output.dtype for output in outputs] == [torch.float32] * 3
        half = bridge.match(image, tokens)
        assert half.dtype == torch.float32
    with torch.no_grad():
        full = bridge.match(bridge.encode_image(features.float()), tokens)
    assert_close(half, full, rtol=0.1, atol=0.1)
