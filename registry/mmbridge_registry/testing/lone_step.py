"""A step on one rank and in one piece, for checking objectives without the framework."""

import zlib
from functools import cached_property
from typing import Literal, cast

import torch
from torch import Tensor, nn

from mmbridge_registry.bridge import Bridge, ImageState, TextBridge
from mmbridge_registry.language_model import LanguageModel
from mmbridge_registry.step import Batch, Similarity, Step
from mmbridge_registry.tokens import Tokens


class LoneStep(Step):
    """The batch is the global batch (or rows of it); features are given, so no encoder is needed."""

    def __init__(
        self,
        batch: Batch,
        features: Tensor,
        bridge: Bridge,
        language_model: LanguageModel | None = None,
        projection: nn.Module | None = None,
        whole: "LoneStep | None" = None,
    ) -> None:
        self.batch = batch
        self.whole = whole or self
        self.bridge = cast(TextBridge, bridge)
        self.projection = projection
        self._features = features
        if language_model is not None:
            self.language_model = language_model

    def rows(self, index: Tensor) -> "LoneStep":
        """Give some rows of this step, which stays the global batch."""
        language_model = getattr(self, "language_model", None)
        some = (self.batch.select(index), self.features[index], self.bridge, language_model, self.projection, self)
        return LoneStep(*some)

    @property
    def features(self) -> Tensor:
        """Encoder features [B,N,W]."""
        return self._features

    @property
    def image(self) -> ImageState:
        """Image state of the rows."""
        return self._image

    @cached_property
    def _image(self) -> ImageState:
        return self.bridge.encode_image(self._features)

    @property
    def captions(self) -> Tokens:
        """Caption tokens of the rows."""
        return cast(Tokens, self.batch.prepared["captions"])

    @property
    def soft_prompt(self) -> Tensor:
        """Projected queries [B,Q,E]."""
        assert self.projection is not None
        return self.projection(self.bridge(self.features))

    def similarity(self, gather: Literal["exact", "nograd"] = "exact") -> Similarity:
        """Similarities of all rows with all rows."""
        del gather  # nothing to gather
        # The rows of a lone step are where their positions say.
        rows, whole = self.batch.positions, self.whole._similarity
        return Similarity(whole.image_to_text[rows], whole.text_to_image[rows], whole.same_image[rows], whole.own[rows])

    @cached_property
    def _similarity(self) -> Similarity:
        pictures = self.bridge.embed_image(self.image)
        words = self.bridge.embed_text(self.bridge.encode_text(self.captions))
        best = torch.einsum("iqc,jc->ijq", pictures, words).amax(-1) / self.bridge.temperature
        ids = self.batch.image_ids
        return Similarity(best, best.T, ids[:, None] == ids[None], torch.arange(len(ids)))

    def images(self, index: Tensor) -> ImageState:
        """Image states of rows `index`."""
        return self.whole.image.select(index)

    def texts(self, index: Tensor) -> Tokens:
        """Caption tokens of rows `index`."""
        return self.whole.captions.select(index)

    def uniform(self, stream: str) -> Tensor:
        """Numbers in [0,1), a function of the stream's name only."""
        generator = torch.Generator().manual_seed(zlib.crc32(stream.encode()))
        return torch.rand(len(self.whole.batch), generator=generator, dtype=torch.float64)[self.batch.positions]
