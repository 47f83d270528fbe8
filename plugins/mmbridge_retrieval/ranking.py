"""Ranking: who is a candidate, at which place the truth stands, and what chance would give."""

from math import comb

import torch
from torch import Tensor


def candidates(similarity: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Mark the k best texts of every image, and the k best images of every text: two masks [n,m]."""
    by_image, by_text = (torch.zeros_like(similarity, dtype=torch.bool) for _ in range(2))
    by_image.scatter_(1, similarity.topk(min(k, similarity.shape[1]), dim=1).indices, True)
    by_text.scatter_(0, similarity.topk(min(k, similarity.shape[0]), dim=0).indices, True)
    return by_image, by_text


def ranks(scores: Tensor, truth: Tensor) -> Tensor:
    """Place [n] of the best true column of each row, from 0; `truth` [n,m] marks true columns.

    Ties count against the model, so one that scores everything alike finds nothing. A row whose true columns all have
    score -inf has place m: they were no candidates.
    """
    best = scores.masked_fill(~truth, -torch.inf).amax(1)
    places = ((scores >= best[:, None]) & ~truth).sum(1)
    return places.masked_fill(best == -torch.inf, scores.shape[1])


def found(scores: Tensor, truth: Tensor, k: int) -> Tensor:
    """Rows [n] bool with a true column among their first k; their share is R@k."""
    return ranks(scores, truth) < min(k, scores.shape[1])


def chance(truth: Tensor, k: int) -> float:
    """R@k of a random order: 1 - C(m-t, k) / C(m, k) for a row with t true columns of m, averaged over rows."""
    columns = truth.shape[1]
    k = min(k, columns)
    missed = [comb(columns - true, k) / comb(columns, k) for true in truth.sum(1).tolist()]
    return 1 - sum(missed) / len(missed)


def hardest(similarity: Tensor, truth: Tensor) -> Tensor:
    """Column [n] of the most similar text that is not the row's own."""
    return similarity.masked_fill(truth, -torch.inf).argmax(1)


def first(scores: Tensor, k: int) -> list[list[tuple[int, float]]]:
    """Give the first k columns of each row with their scores, best first; those of score -inf are none."""
    values, columns = scores.topk(min(k, scores.shape[1]), dim=1)
    rows = zip(columns.tolist(), values.tolist(), strict=True)
    return [[(column, value) for column, value in zip(*row, strict=True) if value > -torch.inf] for row in rows]
