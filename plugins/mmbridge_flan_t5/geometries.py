"""The published geometries of FlanT5 (T5 v1.1, arXiv 2210.11416), as transformers' T5Config names them."""

from typing import Any

from mmbridge_flan_t5 import Architecture


def t5_v1_1(width: int, feed_forward: int, layers: int, heads: int) -> dict[str, Any]:
    """Geometry of one size; the output table is another than the input table."""
    return {
        "vocab_size": 32128,
        "d_model": width,
        "d_kv": 64,
        "d_ff": feed_forward,
        "num_layers": layers,
        "num_decoder_layers": layers,
        "num_heads": heads,
        "feed_forward_proj": "gated-gelu",
    }


GEOMETRIES: dict[Architecture, dict[str, Any]] = {
    "flan-t5-small": t5_v1_1(512, 1024, 8, 6),
    "flan-t5-base": t5_v1_1(768, 2048, 12, 12),
    "flan-t5-large": t5_v1_1(1024, 2816, 24, 16),
    "flan-t5-xl": t5_v1_1(2048, 5120, 24, 32),
    "flan-t5-xxl": t5_v1_1(4096, 10240, 24, 64),
}
