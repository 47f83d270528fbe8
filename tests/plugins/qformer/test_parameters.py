"""Counts of the published models, and that a stage trains exactly what its losses reach."""

from itertools import chain, combinations

import pytest
import torch
from mmbridge_qformer import QFormerOptions, build_qformer
from mmbridge_registry import Tokens
from torch.nn import functional as F

PASSES = ("image", "contrast", "match", "decode")
SUBSETS = [frozenset(some) for some in chain.from_iterable(combinations(PASSES, n) for n in range(5))]


def published(encoder_width):
    with torch.device("meta"):
        return build_qformer(QFormerOptions(init="random"), encoder_width)


def count(bridge, *passes):
    return sum(parameter.numel() for _, parameter in bridge.parameters_for(frozenset(passes)))


def test_counts_of_the_published_models():
    giant, large = published(1408), published(1024)
    assert giant.geometry.vocabulary == 30_523
    assert count(giant, "contrast", "match", "decode") == count(giant, *PASSES) == 186_705_470
    assert sum(parameter.numel() for parameter in giant.parameters()) == 186_705_470
    assert count(giant, "image") == 105_165_056 == 107_133_696 - 769 * 2560
    assert count(giant, *PASSES) - count(large, *PASSES) == count(giant, "image") - count(large, "image") == 3_539_712
    assert count(giant) == 0


def losses(bridge):
    """One scalar for each pass, that depends on everything which the pass gives."""
    features, ids = torch.randn(3, 5, 12), torch.randint(1, 29, (3, 4))
    tokens = Tokens(ids, torch.ones_like(ids, dtype=torch.bool))
    image = bridge.encode_image(features)

    def contrast():
        cosines = torch.einsum("iqc,jc->ijq", bridge.embed_image(image), bridge.embed_text(bridge.encode_text(tokens)))
        return F.cross_entropy(cosines.amax(-1) / bridge.temperature, torch.arange(3))

    return {
        "image": lambda: image.queries.pow(3).sum(),
        "contrast": contrast,
        "match": lambda: F.cross_entropy(bridge.match(image, tokens), torch.tensor([0, 1, 1])),
        "decode": lambda: bridge.vocabulary_logits(bridge.decode_text(image, tokens)).pow(2).mean(),
    }


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("passes", SUBSETS, ids=lambda passes: "+".join(sorted(passes)) or "none")
def test_a_stage_trains_exactly_what_its_losses_reach(layers, every, passes):
    torch.manual_seed(0)
    sizes = {"layers": layers, "width": 16, "heads": 2, "intermediate": 24, "positions": 8, "vocabulary": 30}
    bridge = build_qformer(
        QFormerOptions(queries=4, max_text_length=8, cross_attention_every=every, dropout=0.0, **sizes), 12
    )
    if passes:
        made = losses(bridge)
        torch.stack([made[name]() for name in sorted(passes)]).sum().backward()
    reached = {name for name, parameter in bridge.named_parameters() if parameter.grad is not None}
    assert {name for name, _ in bridge.parameters_for(passes)} == reached
    for name, parameter in bridge.named_parameters():
        # Softmax does not see what is added to every key, so a key's bias has a gradient that is zero.
        assert parameter.grad is None or name.endswith("key.bias") or parameter.grad.abs().max() > 0, name
