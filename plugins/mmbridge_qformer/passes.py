"""The passes through the layers. Each computes only the rows that it is asked for."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from mmbridge_qformer.attention import KeysValues, join
from mmbridge_qformer.layer import QFormerLayer

Memory = Sequence[KeysValues | None]
"""Cross-attention keys and values of images, one entry per layer; None where a layer does not look at the image."""

Past = Sequence[KeysValues]
"""Self-attention keys and values of what stands before a text, one entry per layer."""


def look_at(layers: Iterable[QFormerLayer], features: Tensor) -> Memory:
    """Make the cross-attention keys and values of normed features [B,N,W]."""
    attentions = [layer.cross_attention for layer in layers]
    return [None if attention is None else attention.keys_values(features) for attention in attentions]


def image_pass(layers: Iterable[QFormerLayer], queries: Tensor, memory: Memory) -> tuple[Tensor, Past]:
    """Queries see queries and the image: outputs [B,Q,D], and the past that a text can go on from."""
    past = []
    for layer, image in zip(layers, memory, strict=True):
        past.append(layer.self_attention.keys_values(queries))
        queries = layer.query_rows(queries, past[-1], image)
    return queries, past


def text_pass(
    layers: Iterable[QFormerLayer], text: Tensor, visible: Tensor | None, past: Past | None = None
) -> tuple[Tensor, Past]:
    """Text sees text and, if there is one, the past: hidden states [B,T,D], and the past grown by this text.

    `visible` [B,T,P+T], P = rows of the past.
    """
    grown = []
    for number, layer in enumerate(layers):
        own = layer.self_attention.keys_values(text)
        grown.append(join(past[number], own) if past else own)
        text = layer.text_rows(text, grown[-1], visible)
    return text, grown


def match_pass(
    layers: Sequence[QFormerLayer], queries: Tensor, text: Tensor, memory: Memory, visible: Tensor
) -> Tensor:
    """Everything sees everything: query outputs [B,Q,D]; nobody reads the last layer's text rows, so none are made.

    `visible` [B,Q+T,Q+T].
    """
    for_queries, for_text = visible.split([queries.shape[1], text.shape[1]], dim=1)
    for number, (layer, image) in enumerate(zip(layers, memory, strict=True)):
        source = layer.self_attention.keys_values(torch.cat([queries, text], dim=1))
        queries = layer.query_rows(queries, source, image, for_queries)
        if number + 1 < len(layers):
            text = layer.text_rows(text, source, for_text)
    return queries
