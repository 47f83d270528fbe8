"""The sizes of a Q-Former: what the options say, else what its BERT says, else BERT-base."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmbridge_registry import RANDOM, UserError

from mmbridge_qformer import QFormerOptions
from mmbridge_qformer.tokenizer import QFormerTokenizer

BERT_BASE = {
    "vocab_size": 30_522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
    "layer_norm_eps": 1e-12,
}
"""The sizes without a checkpoint, by the names that checkpoints use."""


@dataclass(frozen=True)
class Geometry:
    """Everything that decides the shapes and the numerics of a Q-Former."""

    encoder_width: int
    vocabulary: int
    start: int
    """Id of the token that starts decoding."""
    queries: int
    layers: int
    width: int
    heads: int
    intermediate: int
    positions: int
    cross_attention_every: int
    contrastive_width: int
    dropout: float
    norm_eps: float
    image_norm_eps: float


def folder_of(weights: str | None, what: str) -> Path | None:
    """Give the local folder behind a `Weights` option; None for random or unset.

    Raises:
        UserError: it is none of these.
    """
    if weights is None or weights == RANDOM:
        return None
    folder = Path(weights)
    if not folder.is_dir():
        raise UserError(
            f"'{weights}' is no folder.",
            where=f"qformer.{what}",
            do="Fetch the checkpoint with `mmbridge fetch`, or name a local folder.",
        )
    return folder


def geometry_of(options: QFormerOptions, encoder_width: int, tokenizer: QFormerTokenizer) -> Geometry:
    """Settle the sizes.

    Raises:
        UserError: the sizes contradict each other, or `init` is no BERT with exact GELU.
    """
    config = _bert_config(folder_of(options.init, "init"))
    vocabulary = len(tokenizer) if tokenizer.folder else options.vocabulary or config["vocab_size"] + 1
    geometry = Geometry(
        encoder_width=encoder_width,
        vocabulary=vocabulary,
        start=tokenizer.start if tokenizer.folder else vocabulary - 1,
        queries=options.queries,
        layers=options.layers or config["num_hidden_layers"],
        width=options.width or config["hidden_size"],
        heads=options.heads or config["num_attention_heads"],
        intermediate=options.intermediate or config["intermediate_size"],
        positions=options.positions or config["max_position_embeddings"],
        cross_attention_every=options.cross_attention_every,
        contrastive_width=options.contrastive_width,
        dropout=options.dropout,
        norm_eps=options.norm_eps or config["layer_norm_eps"],
        image_norm_eps=options.image_norm_eps,
    )
    _check(geometry, options)
    return geometry


def _bert_config(folder: Path | None) -> dict[str, Any]:
    if folder is None:
        return BERT_BASE
    file = folder / "config.json"
    config = json.loads(file.read_text()) if file.is_file() else {}
    missing, activation = [key for key in BERT_BASE if key not in config], config.get("hidden_act")
    if missing or activation != "gelu":
        raise UserError(
            f"it lacks {', '.join(missing)}." if missing else f"the activation is '{activation}', not 'gelu'.",
            where=file,
            do="Start from a checkpoint of a BERT.",
        )
    return config


def _check(geometry: Geometry, options: QFormerOptions) -> None:
    if geometry.width % geometry.heads:
        raise UserError(
            f"{geometry.heads} heads do not divide the width {geometry.width}.",
            where="qformer.heads",
            do="Choose a divisor of the width.",
        )
    if options.max_text_length > geometry.positions:
        raise UserError(
            f"texts of {options.max_text_length} tokens do not fit {geometry.positions} positions.",
            where="qformer.max_text_length",
            do="Make it smaller, or `positions` larger.",
        )
    if options.vocabulary not in (None, geometry.vocabulary):
        raise UserError(
            f"the vocabulary is {options.vocabulary}, but the tokenizer has {geometry.vocabulary} tokens with [DEC].",
            where="qformer.vocabulary",
            do="Leave it out; it is then counted.",
        )
