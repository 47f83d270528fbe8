"""One attention block of BERT: attention, projection, residual, norm after it."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

KeysValues = tuple[Tensor, Tensor]
"""Keys and values [B,heads,L,width/heads] each."""


class Attention(nn.Module):
    """Rows of `width` look at a source of `source_width`; both may be the same rows.

    Keys and values are made apart from the looking, so that whoever holds them can reuse, join and select them.
    """

    def __init__(self, width: int, source_width: int, heads: int, dropout: float, eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(source_width, width)
        self.value = nn.Linear(source_width, width)
        self.out = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps)
        self.dropout = nn.Dropout(dropout)

    def keys_values(self, source: Tensor) -> KeysValues:
        """Make keys and values of a source [B,L,source_width]."""
        return self._split(self.key(source)), self._split(self.value(source))

    def forward(self, rows: Tensor, source: KeysValues, visible: Tensor | None = None) -> Tensor:
        """Let rows [B,R,D] look at a source; `visible` bool [B,R,L] or None for everything."""
        seen = F.scaled_dot_product_attention(
            self._split(self.query(rows)),
            *source,
            attn_mask=None if visible is None else visible.unsqueeze(1),
            dropout_p=self.dropout.p if self.training else 0.0,
        )
        return self.norm(rows + self.dropout(self.out(seen.transpose(1, 2).flatten(2))))

    def weights(self, rows: Tensor, source: KeysValues) -> Tensor:
        """Tell how much each of rows [B,R,D] takes from each place of a source: [B,heads,R,L], at least float32."""
        queries, keys = self._split(self.query(rows)), source[0]
        exact = torch.promote_types(keys.dtype, torch.float32)
        with torch.autocast(keys.device.type, enabled=False):
            scores = queries.to(exact) @ keys.to(exact).transpose(-2, -1) / queries.shape[-1] ** 0.5
        return scores.softmax(-1)

    def _split(self, rows: Tensor) -> Tensor:
        return rows.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def join(before: KeysValues, after: KeysValues) -> KeysValues:
    """Put the keys and values of two sources behind each other."""
    return torch.cat([before[0], after[0]], dim=2), torch.cat([before[1], after[1]], dim=2)


def pick(source: KeysValues, index: Tensor) -> KeysValues:
    """Pick (and repeat) rows of a batch."""
    return source[0][index], source[1][index]
