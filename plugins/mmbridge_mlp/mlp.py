"""The MLP bridge: no attention, no text. It has no learned queries; its outputs are called so to fill their place."""

from mmbridge_registry import Bridge
from torch import Tensor, nn
from torch.nn import functional as F


class MlpBridge(Bridge):
    """Norm, average N features to Q by their order, two layers with GELU."""

    def __init__(self, encoder_width: int, queries: int, width: int, inner: int) -> None:
        super().__init__()
        self.width, self.num_queries = width, queries
        self.norm = nn.LayerNorm(encoder_width)
        self.layers = nn.Sequential(nn.Linear(encoder_width, inner), nn.GELU(), nn.Linear(inner, width))

    def forward(self, features: Tensor) -> Tensor:
        """Turn features [B,N,W] into queries [B,Q,D]; query q is the mean over the q-th of Q equal parts of N."""
        normed = self.norm(features.to(self.norm.weight.dtype))
        return self.layers(F.adaptive_avg_pool1d(normed.transpose(1, 2), self.num_queries).transpose(1, 2))
