"""Runs of mmbridge as parts of CapFilt."""

from collections.abc import Sequence

import torch
from mmbridge_registry import Captioner, Scorer, VisionLanguage
from PIL.Image import Image

from mmbridge_capfilt import RunCaptionerOptions, RunScorerOptions


class RunCaptioner(Captioner):
    """Draws captions with a run's language model, or with its text bridge."""

    def __init__(self, options: RunCaptionerOptions, model: VisionLanguage) -> None:
        self.options, self.model = options, model

    def caption(self, images: Sequence[Image], count: int, seed: int) -> list[list[str]]:
        """Caption each image so often; the vision encoder reads it once."""
        repeated = [image for image in images for _ in range(count)]
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            texts = self.model.caption(repeated, self.options.prompt, generation=self.options.generation)
        return [texts[first : first + count] for first in range(0, len(texts), count)]


class RunScorer(Scorer):
    """Compares images and texts as a run's bridge does."""

    def __init__(self, options: RunScorerOptions, model: VisionLanguage) -> None:
        self.options, self.model = options, model

    def score(self, images: Sequence[Image], texts: Sequence[Sequence[str]]) -> list[list[float]]:
        """Score by ITC (cosine, -1 to 1) or ITM (probability of a match)."""
        encoded, flat = self.model.encode(images), [text for row in texts for text in row]
        if not flat:
            return [[] for _ in texts]
        rows = torch.tensor([place for place, row in enumerate(texts) for _ in row])
        if self.options.by == "itm":
            scores = encoded.match(rows, flat).softmax(-1)[:, 1]
        else:
            scores = torch.einsum("nqc,nc->nq", encoded.embed()[rows], self.model.embed_texts(flat)).amax(1)
        return [row.tolist() for row in scores.split([len(row) for row in texts])]
