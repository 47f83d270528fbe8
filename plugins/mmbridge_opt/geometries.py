"""The published geometries of OPT (arXiv 2205.01068, table 1), as transformers' OPTConfig names them."""

from typing import Any

from mmbridge_opt import Architecture


def pre_norm(width: int, layers: int, heads: int) -> dict[str, Any]:
    """Geometry of all sizes but one: norms before the blocks, tokens embedded at full width."""
    return {
        "vocab_size": 50272,
        "max_position_embeddings": 2048,
        "hidden_size": width,
        "word_embed_proj_dim": width,
        "ffn_dim": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "do_layer_norm_before": True,
    }


GEOMETRIES: dict[Architecture, dict[str, Any]] = {
    "opt-125m": pre_norm(768, 12, 12),
    # The odd one: norms after the blocks, and tokens embedded at half the width, so soft prompts have 512 as well.
    "opt-350m": {**pre_norm(1024, 24, 16), "word_embed_proj_dim": 512, "do_layer_norm_before": False},
    "opt-1.3b": pre_norm(2048, 24, 32),
    "opt-2.7b": pre_norm(2560, 32, 32),
    "opt-6.7b": pre_norm(4096, 32, 32),
    "opt-13b": pre_norm(5120, 40, 40),
    "opt-30b": pre_norm(7168, 48, 56),
}
