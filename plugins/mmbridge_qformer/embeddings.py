"""Where rows begin: words with positions, and queries without, under one norm."""

import torch
from torch import Tensor, nn

from mmbridge_qformer.geometry import Geometry


class Embeddings(nn.Module):
    """BERT's embeddings without token types. Text positions start at 0, whatever stands before the text."""

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        self.words = nn.Embedding(geometry.vocabulary, geometry.width)
        self.positions = nn.Embedding(geometry.positions, geometry.width)
        self.norm = nn.LayerNorm(geometry.width, geometry.norm_eps)
        self.dropout = nn.Dropout(geometry.dropout)

    def text(self, ids: Tensor, first: int = 0) -> Tensor:
        """Embed ids [B,T] that stand at positions first, first + 1, ... to [B,T,D]."""
        positions = torch.arange(first, first + ids.shape[1], device=ids.device)
        return self.dropout(self.norm(self.words(ids) + self.positions(positions)))

    def queries(self, queries: Tensor, count: int) -> Tensor:
        """Give learned queries [1,Q,D] to each of `count` images: [B,Q,D]."""
        return self.dropout(self.norm(queries).expand(count, -1, -1))
