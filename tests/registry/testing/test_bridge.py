"""The check of bridges: a good one passes, every broken promise is named."""

from typing import Any

import pytest
import torch
from mmbridge_registry import Bridge
from mmbridge_registry.testing import check_bridge
from torch import Tensor, nn
from toys.breaking import broken, good

torch.set_num_threads(1)

FEATURE = 5


class Plain(Bridge):
    """A good bridge: a linear map of the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.width, self.num_queries = 6, 2
        self.map = nn.Linear(FEATURE, 12)

    def forward(self, features: Tensor) -> Tensor:
        return self.map(features.to(self.map.weight.dtype).mean(1)).unflatten(-1, (2, 6))


class Looking(Plain):
    """A good bridge that tells where its queries look: where the first number is large, or small."""

    def attention(self, features: Tensor) -> Tensor:
        scores = features[..., 0] * torch.tensor([1.0, -1.0])[:, None, None]
        return scores.softmax(-1).transpose(0, 1)[None]


class TestBridge:
    def test_a_good_one_passes(self) -> None:
        check_bridge(Plain(), FEATURE)
        check_bridge(Looking(), FEATURE)

    @pytest.mark.parametrize(
        ("promise", "changes"),
        [
            ("num_queries, width", {"width": 7}),
            ("give alone", {"forward": lambda self, x: good(self)(x) + x.mean().to(torch.float32)}),
            ("eval mode the same", {"forward": lambda self, x: good(self)(x) + torch.rand(())}),
            ("different images", {"forward": lambda self, x: good(self)(x * 0)}),
            ("bfloat16 encoder", {"forward": lambda self, x: good(self)(x).to(x.dtype)}),
            ("no gradient gets to .*extra", {"extra": nn.Parameter(torch.zeros(1))}),
            ("leaves out .*map.bias", {"parameters_for": lambda self, passes: [("map.weight", self.map.weight)]}),
            ("names of named_parameters", {"parameters_for": lambda self, passes: [("weight", self.map.weight)]}),
            ("state_dict", {"state_dict": lambda self: {}, "load_state_dict": lambda self, state: None}),
        ],
    )
    def test_broken_promises(self, promise: str, changes: dict[str, Any]) -> None:
        with pytest.raises(AssertionError, match=promise):
            check_bridge(broken(Plain(), **changes), FEATURE)

    @pytest.mark.parametrize(
        ("promise", "attention"),
        [
            ("num_queries, N", lambda self, x: good(self, "attention")(x)[..., 1:]),
            ("num_queries, N", lambda self, x: good(self, "attention")(x)[0]),
            ("num_queries, N", lambda self, x: good(self, "attention")(x)[:0]),
            ("not negative", lambda self, x: good(self, "attention")(x) * 3 - 2 / x.shape[1]),
            ("add up to 1", lambda self, x: good(self, "attention")(x) * 1.1),
            ("in its images alone", lambda self, x: good(self, "attention")(x * x.abs().mean())),
            ("after attention was asked", lambda self, x: self.map.bias.data.add_(1).mean() * 0),
        ],
    )
    def test_broken_attention(self, promise: str, attention: Any) -> None:
        with pytest.raises(AssertionError, match=promise):
            check_bridge(broken(Looking(), attention=attention), FEATURE)
