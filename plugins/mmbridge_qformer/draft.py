"""Texts being written from images, one token at a time."""

from typing import TYPE_CHECKING

import torch
from mmbridge_registry import Generation
from torch import Tensor

from mmbridge_qformer.attention import pick
from mmbridge_qformer.image_state import QFormerImages
from mmbridge_qformer.passes import text_pass

if TYPE_CHECKING:
    from mmbridge_qformer.qformer import QFormer


class Draft:
    """The tokens so far [R,L], [DEC] first, and the keys and values of everything before the newest."""

    def __init__(self, bridge: "QFormer", image: QFormerImages) -> None:
        self._bridge, self._past = bridge, image.past
        self.ids = torch.full((len(image), 1), bridge.geometry.start, device=bridge.queries.device)

    def scores(self) -> Tensor:
        """Read the newest token; give the logits [R,V] of the next, in the precision of the weights."""
        text = self._bridge.embeddings.text(self.ids[:, -1:], first=self.ids.shape[1] - 1)
        hidden, self._past = text_pass(self._bridge.layers, text, None, self._past)
        return self._bridge.vocabulary_logits(hidden[:, -1]).to(self._bridge.queries.dtype)

    def go_on(self, tokens: Tensor, rows: Tensor | None = None) -> None:
        """Append a token [R] to each text; with `rows` [R], to the texts at these rows instead."""
        if rows is not None:
            self.ids, self._past = self.ids[rows], [pick(source, rows) for source in self._past]
        self.ids = torch.cat([self.ids, tokens[:, None]], dim=1)


def adjust(scores: Tensor, ids: Tensor, end: int, generation: Generation) -> Tensor:
    """Apply the repetition penalty and the least length to scores [R,V] of the token after `ids` [R,L], [DEC] first."""
    if generation.repetition_penalty != 1.0:
        there = scores.gather(1, ids)
        penalty = torch.full_like(there, generation.repetition_penalty)
        scores = scores.scatter(1, ids, there * penalty.where(there < 0, 1 / penalty))
    if ids.shape[1] - 1 < generation.min_new_tokens:
        scores = scores.index_fill(1, torch.tensor([end], device=ids.device), float("-inf"))
    return scores


def draw(scores: Tensor, generation: Generation) -> Tensor:
    """Draw one token [R] per row from the nucleus of scores [R,V] (arXiv 1904.09751)."""
    chances, tokens = (scores / generation.temperature).softmax(-1).sort(descending=True)
    # A token stays while those before it do not fill the nucleus, so the likeliest always stays.
    before = chances.cumsum(-1) - chances
    picked = chances.masked_fill(before >= generation.top_p, 0).multinomial(1)
    return tokens.gather(1, picked).squeeze(1)
