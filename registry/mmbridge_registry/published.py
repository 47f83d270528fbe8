"""Parts under the names by which the world knows them: what import copies into and export copies out of."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

TIMM, OPEN_CLIP, TRANSFORMERS, LAVIS = "timm", "open_clip", "transformers", "lavis"
"""Layouts: whose names the tensors have, and whose keys the config."""


@dataclass(frozen=True)
class Published:
    """A part as the library that it comes from would save it.

    `timm`: `config` is timm's config.json (`architecture`, `model_args`, `pretrained_cfg` with mean, std and
    interpolation) with `norm_eps` and `activation` beside them. `open_clip`: open_clip_config.json (`model_cfg`,
    `preprocess_cfg`); names of the image half, without `visual.`. `transformers`: config.json. `lavis`: a Q-Former
    under LAVIS' names; `config` holds its sizes.
    """

    layout: str
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    """The part's own tensors (not copies) by the library's names; tied ones once."""
    tokenizer: Path | None = None
    """Folder of the tokenizer that belongs to it."""
