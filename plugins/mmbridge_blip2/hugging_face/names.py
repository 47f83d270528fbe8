"""transformers' names of BLIP-2's tensors, and timm's of the encoder and LAVIS' of the Q-Former, in both directions."""

import re

LAYER = re.compile(r"\.(\d+)\.")
"""The number of a layer; in the tables below it is `#`."""

ENCODER = (
    ("vision_model.embeddings.class_embedding", "cls_token"),
    ("vision_model.embeddings.position_embedding", "pos_embed"),
    ("vision_model.embeddings.patch_embedding.", "patch_embed.proj."),
    ("vision_model.encoder.layers.#.layer_norm1.", "blocks.#.norm1."),
    ("vision_model.encoder.layers.#.self_attn.qkv.weight", "blocks.#.attn.qkv.weight"),
    ("vision_model.encoder.layers.#.self_attn.projection.", "blocks.#.attn.proj."),
    ("vision_model.encoder.layers.#.layer_norm2.", "blocks.#.norm2."),
    ("vision_model.encoder.layers.#.mlp.", "blocks.#.mlp."),
)
"""Beginnings of names: transformers' and timm's. The biases inside attention are one tensor there: `FUSED`."""

FUSED = "vision_model.encoder.layers.#.self_attn.qkv.bias"
BIASES = ("blocks.#.attn.q_bias", "blocks.#.attn.v_bias")

_QFORMER, _BERT = "qformer.encoder.layer.#.", "Qformer.bert.encoder.layer.#."
BRIDGE = (
    ("query_tokens", "query_tokens"),
    ("vision_model.post_layernorm.", "ln_vision."),
    ("qformer.layernorm.", "Qformer.bert.embeddings.LayerNorm."),
    ("embeddings.word_embeddings.", "Qformer.bert.embeddings.word_embeddings."),
    ("embeddings.position_embeddings.", "Qformer.bert.embeddings.position_embeddings."),
    (f"{_QFORMER}attention.attention.", f"{_BERT}attention.self."),
    (f"{_QFORMER}crossattention.attention.", f"{_BERT}crossattention.self."),
    (_QFORMER, _BERT),
    ("vision_projection.", "vision_proj."),
    ("text_projection.", "text_proj."),
    ("itm_head.", "itm_head."),
)
"""Beginnings of names: transformers' and LAVIS'."""

PROJECTION = "language_projection"

Pairs = tuple[tuple[str, str], ...]


def from_hf(name: str, pairs: Pairs) -> str | None:
    """Give the other project's name; None if it has none."""
    return _rename(name, pairs, 0)


def to_hf(name: str, pairs: Pairs) -> str | None:
    """Give transformers' name; None if it has none (`temp`, the head that predicts words)."""
    return _rename(name, pairs, 1)


def fused(name: str) -> tuple[str, str] | None:
    """Give timm's names of the query and value biases that lie in this tensor; None if it is another one."""
    number = LAYER.search(name)
    if number is None or LAYER.sub(".#.", name, count=1) != FUSED:
        return None
    query, value = (bias.replace("#", number[1]) for bias in BIASES)
    return query, value


def fused_of(query_bias: str) -> str | None:
    """Give transformers' name of the tensor to which this query bias belongs; None if it is none."""
    number = LAYER.search(query_bias)
    if number is None or LAYER.sub(".#.", query_bias, count=1) != BIASES[0]:
        return None
    return FUSED.replace("#", number[1])


def _rename(name: str, pairs: Pairs, source: int) -> str | None:
    number = LAYER.search(name)
    plain = LAYER.sub(".#.", name, count=1)
    for pair in pairs:
        if plain.startswith(pair[source]):
            renamed = pair[1 - source] + plain[len(pair[source]) :]
            return renamed.replace("#", number[1]) if number else renamed
    return None
