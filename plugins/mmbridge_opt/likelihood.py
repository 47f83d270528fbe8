"""Cross-entropy over the vocabulary, asked for only where there is a label."""

import torch
from mmbridge_registry.language_model import IGNORED
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

CHUNK = 2048
"""Tokens whose vocabulary logits are in memory at once (50k words in float32: 0.4 GB)."""


def token_losses(states: Tensor, labels: Tensor, head: nn.Module) -> Tensor:
    """Cross-entropy [n] float32 of the n labels of [B,T] that count, in row order; `states` [B,T,E] predict them."""
    scored = labels != IGNORED
    chunks = list(zip(states[scored].split(CHUNK), labels[scored].split(CHUNK), strict=True))
    if len(chunks) == 1:
        return _losses(*chunks[0], head)
    # Logits are computed again in the backward pass: kept, they would be the largest tensor of the step.
    return torch.cat([checkpoint(_losses, *chunk, head, use_reentrant=False) for chunk in chunks])


def row_likelihoods(states: Tensor, labels: Tensor, head: nn.Module) -> Tensor:
    """Log-likelihood [B] float32 of every row's labels, summed over its tokens."""
    rows = (labels != IGNORED).nonzero()[:, 0]
    totals = torch.zeros(len(labels), device=states.device)
    return totals.index_add(0, rows, -token_losses(states, labels, head))


def _losses(states: Tensor, labels: Tensor, head: nn.Module) -> Tensor:
    return F.cross_entropy(head(states).float(), labels, reduction="none")
