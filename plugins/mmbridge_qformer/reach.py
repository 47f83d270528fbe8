"""Which weights a loss reaches. DDP demands that this be exact, so it also knows what no gradient ever gets to."""

import re

from mmbridge_registry.bridge import Pass

from mmbridge_qformer.geometry import Geometry

TEXT: frozenset[Pass] = frozenset({"contrast", "match", "decode"})
ALL: frozenset[Pass] = frozenset({"image", "contrast", "match", "decode"})


def reaches(name: str, passes: frozenset[Pass], geometry: Geometry) -> bool:
    """Tell whether a loss over `passes` has a gradient at the weight `name`."""
    last = geometry.layers - 1
    # Decoding reads what the queries hold when they enter the last layer, not what they become in it; with a single
    # layer that is nothing of the image. Matching reads the queries alone when they leave it.
    through_image = ALL if last > 0 else ALL - {"decode"}
    table: list[tuple[str, frozenset[Pass]]] = [
        (r"contrast\.", frozenset({"contrast"})),
        (r"match_head\.", frozenset({"match"})),
        (r"vocabulary\.", frozenset({"decode"})),
        (r"embeddings\.(words|positions)\.", TEXT),
        (rf"layers\.{last}\.(cross_attention|query_ffn)\.", ALL - {"decode"}),
        (rf"layers\.{last}\.text_ffn\.", TEXT - {"match"}),
        (r"layers\.\d+\.text_ffn\.", TEXT),
        (r"image_norm\.", through_image),
        (r"", ALL),
    ]
    readers = next(readers for pattern, readers in table if re.match(pattern, name))
    return bool(readers & passes)
