"""The conformance check of bridges that read text."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from mmbridge_registry.bridge import ImageState, Pass, TextBridge
from mmbridge_registry.testing.bridge import check_bridge, check_reach
from mmbridge_registry.testing.promises import expect, expect_close, expect_pickles, state, weighted_sum
from mmbridge_registry.tokens import Tokens

TEXTS = ("a red circle", "two small blue squares on grey", "green")


def check_text_bridge(
    bridge: TextBridge, encoder_width: int, num_tokens: int = 17, texts: Sequence[str] = TEXTS
) -> None:
    """Check what the framework relies on in a text bridge, with three texts of different lengths.

    Raises:
        AssertionError: names the promise that is broken.
    """
    expect(isinstance(bridge, TextBridge), "a text bridge derives from TextBridge")
    tokens = _check_tokenizer(bridge, texts)
    check_bridge(bridge, encoder_width, num_tokens)
    features = torch.randn(3, num_tokens, encoder_width, generator=torch.Generator().manual_seed(0))
    with state(bridge, grad=False, training=False):
        image = bridge.encode_image(features)
        _check_image_state(bridge, features, image)
        _check_hidden_states(bridge, image, tokens)
        _check_decoder(bridge, image, tokens)
        _check_padding(bridge, image, tokens)
        _check_heads(bridge, image, tokens)
    for passes in _passes():
        check_reach(bridge, passes, lambda passes=passes: _loss(bridge, features, tokens, passes))


def _check_tokenizer(bridge: TextBridge, texts: Sequence[str]) -> Tokens:
    tokens = bridge.tokenizer(texts)
    expect(tokens.ids.dtype == torch.int64 and tokens.mask.dtype == torch.bool, "tokens are int64 ids, bool mask")
    expect(tokens.ids.shape == tokens.mask.shape, "ids and mask have one shape [B,T]")
    expect(bool(tokens.mask.any(0).all()), "tokens are padded to the longest text, not further")
    expect(bool((tokens.mask.cummin(1).values == tokens.mask).all()), "captions are padded on the right")
    copy = expect_pickles(bridge.tokenizer, "the tokenizer is picklable: it runs in loader workers")
    expect(torch.equal(copy(texts).ids, tokens.ids), "a pickled tokenizer gives the same tokens")
    for row, text in enumerate(texts):
        alone = bridge.tokenizer([text]).ids[0]
        expect(torch.equal(tokens.ids[row][tokens.mask[row]], alone), "a text has the same tokens alone as in a batch")
    return tokens


def _check_image_state(bridge: TextBridge, features: Tensor, image: ImageState) -> None:
    expect_close(image.queries, bridge(features), "encode_image(features).queries is what forward(features) gives")
    index = torch.tensor([2, 0, 0, 1])
    picked = image.select(index)
    expect_close(picked.queries, image.queries[index], "ImageState.select picks and repeats rows")


def _check_hidden_states(bridge: TextBridge, image: ImageState, tokens: Tokens) -> None:
    want = (*tokens.ids.shape, bridge.width)
    for name, hidden in {
        "encode_text": bridge.encode_text(tokens),
        "decode_text": bridge.decode_text(image, tokens),
    }.items():
        expect(tuple(hidden.shape) == want, f"{name} gives hidden states [B,T,D] = {want}, not {hidden.shape}")
        expect(bool(hidden[tokens.mask].isfinite().all()), f"{name} gives finite hidden states")
    index = torch.tensor([2, 0, 0])
    picked = bridge.decode_text(image.select(index), tokens)
    fresh = torch.cat([bridge.decode_text(image.select(index[i : i + 1]), _row(tokens, i)) for i in range(3)])
    expect_close(picked[tokens.mask], fresh[tokens.mask], "decode_text reads the rows that select picked")


def _check_decoder(bridge: TextBridge, image: ImageState, tokens: Tokens) -> None:
    row = tokens.select(torch.tensor([int(tokens.mask.sum(1).argmax())]))
    one = image.select(torch.tensor([0]))
    hidden = bridge.decode_text(one, row)
    for place in (0, -1):
        ids = row.ids.clone()
        ids[0, place] = tokens.ids[0, 1] if ids[0, place] != tokens.ids[0, 1] else tokens.ids[0, 0]
        changed = bridge.decode_text(one, Tokens(ids, row.mask))
        if place:
            expect_close(changed[:, :-1], hidden[:, :-1], "decode_text never sees the future of the text")
        else:
            expect_close(changed, hidden, "decode_text reads position 0 as the start, whatever id stands there")
    other = bridge.decode_text(image.select(torch.tensor([1])), row)
    expect(bool((other - hidden).norm() > 0), "decode_text sees the image")


def _check_padding(bridge: TextBridge, image: ImageState, tokens: Tokens) -> None:
    wide = tokens.widen(tokens.ids.shape[1] + 3)
    passes: dict[str, Callable[[ImageState, Tokens], Tensor]] = {
        "encode_text": lambda _, some: bridge.encode_text(some)[some.mask],
        "decode_text": lambda seen, some: bridge.decode_text(seen, some)[some.mask],
        "match": bridge.match,
    }
    for name, run in passes.items():
        want = run(image, tokens)
        expect_close(run(image, wide), want, f"{name} does not see padding")
        rows = [run(image.select(torch.tensor([i])), _row(tokens, i)) for i in range(len(tokens))]
        expect_close(want, torch.cat(rows), f"{name} gives for a batch what its rows give alone")


def _check_heads(bridge: TextBridge, image: ImageState, tokens: Tokens) -> None:
    logits = bridge.vocabulary_logits(bridge.decode_text(image, tokens)[tokens.mask])
    count = int(tokens.mask.sum())
    expect(logits.dim() == 2 and len(logits) == count, "vocabulary_logits scores any hidden states [...,D] -> [...,V]")
    expect(logits.shape[-1] > int(tokens.ids.max()), "vocabulary_logits has a score for every id of the tokenizer")
    matched = bridge.match(image, tokens)
    expect(tuple(matched.shape) == (3, 2), f"match gives logits [B,2], not {tuple(matched.shape)}")
    swapped = bridge.match(image.select(torch.tensor([1, 2, 0])), tokens)
    expect(bool((swapped - matched).abs().sum(1).min() > 0), "match sees the image")
    pictures, words = bridge.embed_image(image), bridge.embed_text(bridge.encode_text(tokens))
    expect(
        pictures.shape[:2] == (3, bridge.num_queries) and words.shape == (3, pictures.shape[-1]),
        "embed_image gives [B,Q,C] and embed_text [B,C] with the same C",
    )
    for name, embedding in {"embed_image": pictures, "embed_text": words}.items():
        unit = F.normalize(embedding, dim=-1)
        expect_close(embedding, unit, f"{name} is L2-normalised")
    scale = bridge.temperature
    expect(scale.numel() == 1 and float(scale) > 0, "temperature is a positive scalar")


def _passes() -> list[frozenset[Pass]]:
    one: list[Pass] = ["image", "contrast", "match", "decode"]
    return [*(frozenset({each}) for each in one), frozenset({"contrast", "decode"}), frozenset(one)]


def _loss(bridge: TextBridge, features: Tensor, tokens: Tokens, passes: frozenset[Pass]) -> Tensor:
    terms = []
    if "image" in passes:
        terms.append(bridge(features))
    image = bridge.encode_image(features)
    if "contrast" in passes:
        words = bridge.embed_text(bridge.encode_text(tokens))
        terms += [bridge.embed_image(image), words, bridge.temperature.reshape(1)]
    if "match" in passes:
        terms.append(bridge.match(image, tokens))
    if "decode" in passes:
        terms.append(bridge.vocabulary_logits(bridge.decode_text(image, tokens)[tokens.mask]))
    return torch.stack([weighted_sum(term) for term in terms]).sum()


def _row(tokens: Tokens, row: int) -> Tokens:
    return tokens.select(torch.tensor([row]))
