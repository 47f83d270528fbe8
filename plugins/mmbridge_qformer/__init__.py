"""The Q-Former of BLIP-2 (arXiv 2301.12597, section 3.1): the bridge that also reads and writes text."""

from typing import TYPE_CHECKING

from mmbridge_registry import BRIDGE, TEXT_BRIDGE, Catalog, Options, Weights, hookimpl
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

if TYPE_CHECKING:
    from mmbridge_qformer.qformer import QFormer


class QFormerOptions(Options):
    """Geometry, start and text of a Q-Former. What is None is taken from `init`, or is BERT-base's."""

    init: Weights | None = None
    """BERT checkpoint to start from (a transformers folder with safetensors); None or `random` starts from nothing."""
    tokenizer: Weights | None = None
    """Folder of the WordPiece tokenizer; None takes the one that lies with `init`."""
    vocabulary: PositiveInt | None = None
    """Rows of the word table, start-of-decoding token included; None counts the tokenizer's."""
    max_text_length: int = Field(32, ge=2)
    """Longest text in tokens, [CLS] and [SEP] included; longer ones are cut and keep their [SEP]."""
    queries: PositiveInt = 32
    """Number of learned queries."""
    layers: PositiveInt | None = None
    """Number of layers."""
    width: PositiveInt | None = None
    """Width of queries and text."""
    heads: PositiveInt | None = None
    """Attention heads; must divide the width."""
    intermediate: PositiveInt | None = None
    """Inner width of both feed-forward networks."""
    positions: PositiveInt | None = None
    """Rows of the position table: the longest text that could ever be read or written."""
    cross_attention_every: PositiveInt = 2
    """Queries look at the image in layers 0, n, 2n, ..."""
    contrastive_width: PositiveInt = 256
    """Width of the embeddings that ITC and retrieval compare."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Dropout of hidden states and of attention, in training."""
    norm_eps: PositiveFloat | None = None
    """Epsilon of the Q-Former's own norms (BERT: 1e-12)."""
    image_norm_eps: PositiveFloat = 1e-5
    """Epsilon of the norm over the encoder's features."""
    init_std: NonNegativeFloat = 0.02
    """Standard deviation of new weights and queries."""
    temperature: PositiveFloat = 0.07
    """Temperature of the contrastive similarities at the start; it is learned."""


def build_qformer(options: QFormerOptions, encoder_width: int) -> "QFormer":
    """Build the Q-Former for features of `encoder_width`."""
    from mmbridge_qformer.build import build

    return build(options, encoder_width)


@hookimpl
def offer_parts(catalog: Catalog) -> None:
    """Offer the bridge `qformer`."""
    catalog.offer(BRIDGE, "qformer", QFormerOptions, build_qformer, provides=[TEXT_BRIDGE])
