"""Parity with the original implementation, float64."""

import pytest
import torch
from mmbridge_registry import Tokens
from torch.testing import assert_close

pytestmark = pytest.mark.usefixtures("no_grad")
EXACT = {"rtol": 1e-12, "atol": 1e-12}


@pytest.fixture
def no_grad():
    with torch.no_grad():
        yield


@pytest.fixture
def image(bridge, features):
    return bridge.encode_image(features)


@pytest.fixture
def tokens(golden):
    return Tokens(golden["input_ids"], golden["attention_mask"].bool())


def test_tokenizer_gives_the_original_ids_without_its_needless_padding(bridge, golden, captions):
    tokens = bridge.tokenizer(captions)
    width = golden["attention_mask"].sum(1).max()
    assert tokens.ids.equal(golden["input_ids"][:, :width])
    assert tokens.mask.equal(golden["attention_mask"][:, :width].bool())
    short = bridge.tokenizer(captions[1:2])
    assert short.ids.shape[1] == 3


def test_image_pass(bridge, image, golden, features):
    assert_close(image.queries, golden["query_hidden.f64"], **EXACT)
    assert_close(bridge(features), golden["query_hidden.f64"], **EXACT)
    assert_close(bridge.image_norm(features), golden["ln_vision_out.f64"], **EXACT)
    for layer in (0, 3):
        assert_close(image.past[layer][0], golden[f"past_key.{layer}.f64"], **EXACT)
        assert_close(image.past[layer][1], golden[f"past_value.{layer}.f64"], **EXACT)


def test_text_pass(bridge, tokens, golden):
    hidden = bridge.encode_text(tokens)
    real = tokens.mask
    assert_close(hidden[real], golden["text_hidden.f64"][real], **EXACT)
    assert_close(bridge.embed_text(hidden), golden["text_feat.f64"], **EXACT)


def test_similarities(bridge, image, tokens, golden):
    queries, text = bridge.embed_image(image), bridge.embed_text(bridge.encode_text(tokens))
    assert_close(queries, golden["image_feats.f64"], **EXACT)
    cosines = torch.einsum("iqc,jc->ijq", queries, text)
    assert_close(cosines, golden["sim_q2t.f64"], **EXACT)
    assert_close(cosines.amax(-1) / bridge.temperature, golden["sim_i2t.f64"], **EXACT)


def test_match_pass_of_the_training_batch(bridge, image, tokens, golden):
    own = torch.arange(6)
    images = torch.cat([own, golden["neg_image_for_text"], own])
    texts = torch.cat([own, own, golden["neg_text_for_image"]])
    fused = bridge.fuse(image.select(images), tokens.select(texts))
    assert_close(fused, golden["itm_hidden.f64"][:, :8], **EXACT)
    assert_close(bridge.match(image.select(images), tokens.select(texts)), golden["itm_logits.f64"], **EXACT)


def test_decode_pass(bridge, image, tokens, golden):
    hidden = bridge.decode_text(image, tokens)
    real = tokens.mask
    assert_close(hidden[real], golden["lm_hidden.f64"][real], **EXACT)
    assert_close(bridge.vocabulary_logits(hidden[real]), golden["lm_logits.f64"][real], **EXACT)


def test_start_token_is_put_in_place_and_the_tokens_stay_as_they_are(bridge, golden, tokens):
    assert bridge.geometry.start == bridge.tokenizer.start == 199
    before = tokens.ids.clone()
    bridge.decode_text(bridge.encode_image(golden["features"].double()), tokens)
    assert tokens.ids.equal(before)


def test_inference_features(bridge, image, inference):
    long = Tokens(inference["extract_input_ids"], inference["extract_attention_mask"].bool())
    assert_close(image.queries, inference["image_embeds.f64"], **EXACT)
    assert_close(bridge.embed_image(image), inference["image_embeds_proj.f64"], **EXACT)
    hidden = bridge.encode_text(long)
    assert_close(hidden[long.mask], inference["text_embeds.f64"][long.mask], **EXACT)
    assert_close(bridge.embed_text(hidden), inference["text_embeds_proj.f64"][:, 0], **EXACT)
    assert_close(bridge.fuse(image, long), inference["multimodal_embeds.f64"], **EXACT)


def test_inference_scores_of_every_pair(bridge, image, inference, captions):
    tokens = bridge.tokenizer(captions)
    text = bridge.embed_text(bridge.encode_text(tokens))
    assert_close(text, inference["text_feat_truncated.f64"], **EXACT)
    cosines = torch.einsum("iqc,jc->ijq", bridge.embed_image(image), text)
    assert_close(cosines, inference["itc_per_query.f64"], **EXACT)
    assert_close(cosines.amax(-1), inference["itc.f64"], **EXACT)
    pairs = torch.cartesian_prod(torch.arange(6), torch.arange(6))
    logits = bridge.match(image.select(pairs[:, 0]), tokens.select(pairs[:, 1]))
    assert_close(logits.unflatten(0, (6, 6)), inference["itm_logits.f64"], **EXACT)
