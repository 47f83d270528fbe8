"""The scorer: both halves of an open_clip model."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import open_clip
import torch
from mmbridge_registry import RANDOM, Scorer, UserError
from mmbridge_registry.transformers_folder import one_line
from PIL.Image import Image
from torch.nn import functional as F

from mmbridge_capfilt import OpenClipOptions

FILES = ("open_clip_config.json", "open_clip_model.safetensors")
"""By this name open_clip finds tensors before any pickle that lies beside them."""


class OpenClip(Scorer):
    """Cosine (-1 to 1) of an image's and a text's embedding, not times 100 as CLIP's logits are."""

    def __init__(self, options: OpenClipOptions, device: str) -> None:
        name = options.architecture
        precision = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}[options.dtype]
        if options.weights != RANDOM:
            folder = Path(options.weights)
            if not all((folder / name).is_file() for name in FILES):
                do = f"Give a folder with {' and '.join(FILES)}; pickles are not read."
                raise UserError("this is no open_clip folder.", where=folder, do=do)
            name = f"local-dir:{folder.absolute()}"
        with one_line("open_clip cannot build this model", Path(options.weights), "Check architecture and weights."):
            model, _, transform = open_clip.create_model_and_transforms(
                name, precision=precision, device=device, load_weights=options.weights != RANDOM
            )
            self.model: Any = model
            self.transform: Any = transform
            self.tokenizer = open_clip.get_tokenizer(name)
        self.model.eval()
        self.device, self.dtype = device, getattr(torch, options.dtype)

    @torch.no_grad()
    def score(self, images: Sequence[Image], texts: Sequence[Sequence[str]]) -> list[list[float]]:
        """Score every text against its own image."""
        flat = list(chain.from_iterable(texts))
        if not flat:
            return [[] for _ in texts]
        pixels = torch.stack([self.transform(image) for image in images]).to(self.device, self.dtype)
        seen = F.normalize(self.model.encode_image(pixels).float(), dim=-1)
        read = F.normalize(self.model.encode_text(self.tokenizer(flat).to(self.device)).float(), dim=-1)
        lengths = torch.tensor([len(row) for row in texts], device=seen.device)
        scores = (seen.repeat_interleave(lengths, 0) * read).sum(-1).cpu()
        return [row.tolist() for row in scores.split([len(row) for row in texts])]
