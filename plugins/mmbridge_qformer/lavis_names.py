"""LAVIS' names of the Q-Former's tensors and ours, in both directions. BERT's names are LAVIS' behind `Qformer.`."""

import re
from collections.abc import Mapping

from torch import Tensor

PAIRS = (
    ("queries", "query_tokens"),
    ("image_norm.", "ln_vision."),
    ("contrast.image.", "vision_proj."),
    ("contrast.text.", "text_proj."),
    ("contrast.temperature", "temp"),
    ("match_head.", "itm_head."),
    ("vocabulary.dense.", "Qformer.cls.predictions.transform.dense."),
    ("vocabulary.norm.", "Qformer.cls.predictions.transform.LayerNorm."),
    ("vocabulary.bias", "Qformer.cls.predictions.bias"),
    ("embeddings.words.", "Qformer.bert.embeddings.word_embeddings."),
    ("embeddings.positions.", "Qformer.bert.embeddings.position_embeddings."),
    ("embeddings.norm.", "Qformer.bert.embeddings.LayerNorm."),
)
"""Beginnings of names outside the layers."""

LAYER_PAIRS = (
    *(
        (f"{ours}.{mine}.", f"{theirs}.{tail}.")
        for ours, theirs in (("self_attention", "attention"), ("cross_attention", "crossattention"))
        for mine, tail in (
            ("query", "self.query"),
            ("key", "self.key"),
            ("value", "self.value"),
            ("out", "output.dense"),
            ("norm", "output.LayerNorm"),
        )
    ),
    *(
        (f"{ours}.{mine}.", f"{tail}.")
        for ours, suffix in (("query_ffn", "_query"), ("text_ffn", ""))
        for mine, tail in (
            ("up", f"intermediate{suffix}.dense"),
            ("down", f"output{suffix}.dense"),
            ("norm", f"output{suffix}.LayerNorm"),
        )
    ),
)
"""Beginnings of names inside a layer."""

ALIASES = {
    "Qformer.cls.predictions.decoder.weight": "embeddings.words.weight",
    "Qformer.cls.predictions.decoder.bias": "vocabulary.bias",
}
"""Names under which LAVIS stores a tensor a second time, and ours."""

BUFFERS = frozenset({"Qformer.bert.embeddings.position_ids"})
"""What LAVIS stores but nobody learns."""

_OUR_LAYER, _THEIR_LAYER = re.compile(r"layers\.(\d+)\."), re.compile(r"Qformer\.bert\.encoder\.layer\.(\d+)\.")


def to_lavis(name: str) -> str:
    """Give LAVIS' name of our tensor.

    Raises:
        KeyError: this Q-Former has no tensor of that name.
    """
    theirs = _rename(name, _OUR_LAYER, "Qformer.bert.encoder.layer.", 0)
    if theirs is None:
        raise KeyError(name)
    return theirs


def from_lavis(name: str) -> str | None:
    """Give our name of a tensor in a LAVIS file; None for what is not the Q-Former's, or nobody learns."""
    return ALIASES.get(name) or _rename(name, _THEIR_LAYER, "layers.", 1)


def state_from_lavis(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take the Q-Former's tensors out of a LAVIS file, under our names."""
    return {ours: tensor for name, tensor in state.items() if (ours := from_lavis(name)) is not None}


def state_to_lavis(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give a Q-Former's tensors the names that LAVIS loads, aliases included."""
    aliases = {theirs: state[ours] for theirs, ours in ALIASES.items() if ours in state}
    return {to_lavis(name): tensor for name, tensor in state.items()} | aliases


def _rename(name: str, layer: re.Pattern[str], prefix: str, source: int) -> str | None:
    found = layer.match(name)
    beginning = f"{prefix}{found[1]}." if found else ""
    tail = name[found.end() :] if found else name
    for pair in LAYER_PAIRS if found else PAIRS:
        if tail.startswith(pair[source]):
            return beginning + pair[1 - source] + tail[len(pair[source]) :]
    return None
