"""Who sees whom: the three masks that make one transformer four things (BLIP-2, figure 2)."""

from typing import Literal

import torch
from torch import Tensor

Reading = Literal["contrast", "decode", "match"]


def visibility(reading: Reading, queries: int, text: Tensor) -> Tensor:
    """Give the bool mask [B,Q+T,Q+T], True where a row may look at a column; `text` [B,T] is True at real tokens.

    Two queries and three tokens, the last of them padding; a row looks at columns marked 1:

    >>> for reading in ("contrast", "decode", "match"):
    ...     print(reading)
    ...     for row in visibility(reading, 2, torch.tensor([[True, True, False]]))[0].int().tolist():
    ...         print(*row)
    contrast
    1 1 0 0 0
    1 1 0 0 0
    0 0 1 1 0
    0 0 1 1 0
    0 0 1 1 0
    decode
    1 1 0 0 0
    1 1 0 0 0
    1 1 1 0 0
    1 1 1 1 0
    1 1 1 1 0
    match
    1 1 1 1 0
    1 1 1 1 0
    1 1 1 1 0
    1 1 1 1 0
    1 1 1 1 0
    """
    total = queries + text.shape[1]
    is_query = torch.arange(total, device=text.device) < queries
    row, column = is_query[:, None], is_query[None, :]
    seen = {
        "contrast": row == column,
        "decode": column | (~row & torch.ones_like(row & column).tril()),
        "match": torch.ones_like(row & column),
    }[reading]
    real = torch.cat([text.new_ones(len(text), queries), text], dim=1)
    return seen & real[:, None, :]
