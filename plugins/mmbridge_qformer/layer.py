"""One layer of the Q-Former: shared self-attention, cross-attention for queries, a feed-forward network for each."""

from torch import Tensor, nn
from torch.nn import functional as F

from mmbridge_qformer.attention import Attention, KeysValues
from mmbridge_qformer.geometry import Geometry


class FeedForward(nn.Module):
    """Two linear maps with exact GELU between, residual, norm after it."""

    def __init__(self, width: int, inner: int, dropout: float, eps: float) -> None:
        super().__init__()
        self.up = nn.Linear(width, inner)
        self.down = nn.Linear(inner, width)
        self.norm = nn.LayerNorm(width, eps)
        self.dropout = nn.Dropout(dropout)

    def forward(self, rows: Tensor) -> Tensor:
        """Map rows [B,R,D] to the same shape."""
        return self.norm(rows + self.dropout(self.down(F.gelu(self.up(rows)))))


class QFormerLayer(nn.Module):
    """Queries and text share the self-attention; whom they see is decided by the caller (BLIP-2, figure 2)."""

    cross_attention: Attention | None

    def __init__(self, geometry: Geometry, looks_at_image: bool) -> None:
        super().__init__()
        width, rest = geometry.width, (geometry.dropout, geometry.norm_eps)
        self.self_attention = Attention(width, width, geometry.heads, *rest)
        self.cross_attention = (
            Attention(width, geometry.encoder_width, geometry.heads, *rest) if looks_at_image else None
        )
        self.query_ffn = FeedForward(width, geometry.intermediate, *rest)
        self.text_ffn = FeedForward(width, geometry.intermediate, *rest)

    def query_rows(
        self, rows: Tensor, source: KeysValues, image: KeysValues | None, visible: Tensor | None = None
    ) -> Tensor:
        """Take query rows [B,Q,D] through the layer: self-attention over `source`, the image, the query network."""
        rows = self.self_attention(rows, source, visible)
        if self.cross_attention is not None and image is not None:
            rows = self.cross_attention(rows, image)
        return self.query_ffn(rows)

    def text_rows(self, rows: Tensor, source: KeysValues, visible: Tensor | None) -> Tensor:
        """Take text rows [B,T,D] through the layer: self-attention over `source`, the text network."""
        return self.text_ffn(self.self_attention(rows, source, visible))
