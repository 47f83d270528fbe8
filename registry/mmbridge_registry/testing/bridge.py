"""The conformance check of bridges."""

from collections.abc import Callable

import torch
from torch import Tensor

from mmbridge_registry.bridge import Bridge, Pass
from mmbridge_registry.testing.promises import expect, expect_close, expect_saves, state, weighted_sum


def check_bridge(bridge: Bridge, encoder_width: int, num_tokens: int = 17) -> None:
    """Check what the framework relies on in a bridge for features [B,num_tokens,encoder_width].

    Raises:
        AssertionError: names the promise that is broken.
    """
    expect(isinstance(bridge, Bridge), "a bridge derives from Bridge")
    features = torch.randn(3, num_tokens, encoder_width, generator=torch.Generator().manual_seed(0))
    _check_queries(bridge, features)
    _check_attention(bridge, features)
    expect_saves(bridge, lambda part: part(features))
    check_reach(bridge, frozenset({"image"}), lambda: weighted_sum(bridge(features)))


def _check_queries(bridge: Bridge, features: Tensor) -> None:
    with state(bridge, grad=False, training=False):
        queries = bridge(features)
        want = (len(features), bridge.num_queries, bridge.width)
        expect(tuple(queries.shape) == want, f"queries are [B, num_queries, width] = {want}, not {queries.shape}")
        expect(bool(queries.isfinite().all()), "queries are finite")
        expect(torch.equal(bridge(features), queries), "in eval mode the same features always give the same queries")
        alone = torch.cat([bridge(row[None]) for row in features])
        expect_close(queries, alone, "a batch of images gives what its images give alone")
        expect(bool((queries[0] - queries[1]).norm() > 0), "different images give different queries")
        low = bridge(features.bfloat16())
        expect(low.dtype == queries.dtype, "features of a bfloat16 encoder are read, in the bridge's own dtype")


def _check_attention(bridge: Bridge, features: Tensor) -> None:
    with state(bridge, grad=False, training=False):
        queries, weights = bridge(features), bridge.attention(features)
        expect(torch.equal(bridge(features), queries), "queries are the same after attention was asked for")
        alone = [bridge.attention(row[None]) for row in features]
    if weights is None:
        return
    want = (len(features), bridge.num_queries, features.shape[1])
    expect(
        weights.dim() == 4 and len(weights) > 0 and tuple(weights.shape[1:]) == want,
        f"attention weights are [L, B, num_queries, N], with B, Q, N = {want}, not {list(weights.shape)}",
    )
    expect(bool((weights >= 0).all()), "attention weights are not negative")
    expect_close(weights.sum(-1), torch.ones_like(weights[..., 0]), "the attention weights of a query add up to 1")
    rows = [row for row in alone if row is not None]
    expect_close(weights, torch.cat(rows, dim=1), "attention in a batch is what it is in its images alone")


def check_reach(bridge: Bridge, passes: frozenset[Pass], loss: Callable[[], Tensor]) -> None:
    """Check by backward that `parameters_for(passes)` is exactly what a loss over these passes reaches."""
    named = dict(bridge.named_parameters())
    claimed = dict(bridge.parameters_for(passes))
    expect(
        all(named.get(name) is parameter for name, parameter in claimed.items()),
        "parameters_for gives parameters by the names of named_parameters",
    )
    with state(bridge, grad=True, training=True):
        loss().backward()
        reached = {name for name, parameter in named.items() if parameter.grad is not None}
    said = f"parameters_for({sorted(passes)}) is exactly what a loss reaches, or DDP stops"
    missing, surplus = sorted(reached - claimed.keys()), sorted(claimed.keys() - reached)
    expect(not missing, f"{said}; it leaves out {missing[:3]}")
    expect(not surplus, f"{said}; no gradient gets to {surplus[:3]}")
