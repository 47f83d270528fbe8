"""The MLP bridge: a bridge that is no Q-Former."""

import pytest
import torch
from mmbridge_mlp import MlpOptions, build_mlp
from mmbridge_registry import BRIDGE, TextBridge
from mmbridge_registry.discovery import discover
from torch.testing import assert_close


@pytest.fixture
def bridge():
    torch.manual_seed(0)
    return build_mlp(MlpOptions(queries=4, width=10), 6)


def test_it_is_a_bridge_and_no_text_bridge(bridge):
    assert (bridge.width, bridge.num_queries) == (10, 4)
    assert bridge(torch.randn(3, 9, 6)).shape == (3, 4, 10)
    assert not isinstance(bridge, TextBridge)


def test_each_query_is_two_layers_over_the_mean_of_its_part(bridge):
    bridge = bridge.double()
    features = torch.randn(2, 8, 6, dtype=torch.float64)
    centred = features - features.mean(-1, keepdim=True)
    normed = centred / (features.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    first, _, second = bridge.layers
    part = normed[:, 4:6].mean(1)  # the third of four parts of eight features
    inner = part @ first.weight.T + first.bias
    gelu = inner * (1 + torch.erf(inner / 2**0.5)) / 2
    assert_close(bridge(features)[:, 2], gelu @ second.weight.T + second.bias)


@pytest.mark.parametrize("tokens", [1, 3, 4, 5, 257])
def test_any_number_of_features_will_do(bridge, tokens):
    assert bridge(torch.randn(2, tokens, 6)).isfinite().all()


def test_half_precision_features_are_normed_in_full(bridge):
    assert bridge(torch.randn(2, 5, 6).bfloat16()).dtype == torch.float32


def test_every_parameter_is_reached(bridge):
    bridge(torch.randn(2, 5, 6)).pow(2).sum().backward()
    trained = dict(bridge.parameters_for(frozenset({"image"})))
    assert trained and all(parameter.grad.abs().max() > 0 for parameter in trained.values())


def test_both_bridges_are_offered_and_only_one_reads_text():
    catalog = discover().catalog
    assert catalog.find(BRIDGE, "mlp").provides == frozenset()
    assert catalog.find(BRIDGE, "qformer").provides == {"text_bridge"}
    with torch.device("meta"):
        bridge = catalog.find(BRIDGE, "mlp").build(MlpOptions(), encoder_width=1408)
    assert sum(parameter.numel() for parameter in bridge.parameters()) == 2816 + 1409 * 3072 + 3073 * 768
