"""The step: one batch on its way through the model; whatever objectives share is computed once, when asked for."""

# cached_property is a property that remembers; the type checker takes it for something else.
# pyright: reportIncompatibleMethodOverride=false, reportIncompatibleVariableOverride=false

from functools import cached_property
from hashlib import blake2b
from typing import Literal

import torch
from mmbridge_registry import (
    Batch,
    Bridge,
    ImageState,
    LanguageModel,
    Similarity,
    Step,
    TextBridge,
    Tokens,
    VisionEncoder,
)
from torch import Tensor, nn

from mmbridge.collectives import Collectives
from mmbridge.draws import uniform


class StepOfBatch(Step):
    """A rank's rows of step `step_number`, one of `micro_batches` equal parts; every rank holds equally many rows."""

    def __init__(
        self,
        *,
        batch: Batch,
        vision_encoder: VisionEncoder,
        bridge: Bridge,
        projection: nn.Module | None,
        language_model: LanguageModel | None,
        collectives: Collectives,
        seed: int,
        step_number: int,
        micro_batches: int = 1,
    ) -> None:
        self.batch = batch
        self._vision_encoder = vision_encoder
        self._bridge = bridge
        self._projection = projection
        self._language_model = language_model
        self._collectives = collectives
        self._seed = seed
        self._step_number = step_number
        self._micro_batches = micro_batches

    @property
    def bridge(self) -> TextBridge:
        """The bridge, if it reads text.

        Raises:
            TypeError: it does not; the objective should be offered with `requires=(TEXT_BRIDGE,)`.
        """
        if not isinstance(self._bridge, TextBridge):
            raise TypeError(f"{type(self._bridge).__name__} reads no text; offer the objective with requires=")
        return self._bridge

    @property
    def language_model(self) -> LanguageModel:
        """The language model.

        Raises:
            TypeError: there is none; the objective should be offered with `requires=(DECODER,)` or the like.
        """
        if self._language_model is None:
            raise TypeError("the model has no language model; offer the objective with requires=")
        return self._language_model

    @cached_property
    def _encoded(self) -> Tensor:
        trained = any(parameter.requires_grad for parameter in self._vision_encoder.parameters())
        with torch.set_grad_enabled(trained and torch.is_grad_enabled()):
            return self._vision_encoder(self.batch.pixels)

    @cached_property
    def features(self) -> Tensor:
        """Encoder features [B,N,W] in the bridge's dtype; without autograd state if the encoder is frozen."""
        return self._for_bridge(self._encoded)

    @cached_property
    def image(self) -> ImageState:
        """Image state of the local rows; one image pass serves all objectives."""
        return self.bridge.encode_image(self.features)

    @property
    def captions(self) -> Tokens:
        """Caption tokens of the local rows."""
        captions = self.batch.prepared["captions"]
        assert isinstance(captions, Tokens)
        return captions

    @cached_property
    def soft_prompt(self) -> Tensor:
        """Projected queries [B,Q,E]; a text bridge's queries come from the image pass that the others use."""
        if self._projection is None:
            raise TypeError("the model has no projection; offer the objective with requires=")
        has_state = isinstance(self._bridge, TextBridge)
        return self._projection(self.image.queries if has_state else self._bridge(self.features))

    def similarity(self, gather: Literal["exact", "nograd"] = "exact") -> Similarity:
        """Similarities of local rows to the global batch, float32 or wider (BLIP-2, section 3.1)."""
        return self._exact_similarity if gather == "exact" else self._nograd_similarity

    @cached_property
    def _exact_similarity(self) -> Similarity:
        return self._similarity_to(self._gathered)

    @cached_property
    def _nograd_similarity(self) -> Similarity:
        return self._similarity_to(self._gathered.detach())

    def _similarity_to(self, everyone: Tensor) -> Similarity:
        # Out of autocast: a difference of 1e-2 in a cosine is 0.15 in a logit at temperature 0.07.
        with torch.autocast(everyone.device.type, enabled=False):
            image_to_text = torch.einsum("bqc,gc->bgq", self._embedded[:, 1:], everyone[:, 0]).amax(-1)
            text_to_image = torch.einsum("bc,gqc->bgq", self._embedded[:, 0], everyone[:, 1:]).amax(-1)
            temperature = self.bridge.temperature
            return Similarity(image_to_text / temperature, text_to_image / temperature, self._same_image, self._own)

    @cached_property
    def _embedded(self) -> Tensor:
        """Text embedding and query embeddings [B,1+Q,C] of the local rows, together so that one gather serves both."""
        text = self.bridge.embed_text(self.bridge.encode_text(self.captions))
        both = torch.cat([text[:, None], self.bridge.embed_image(self.image)], dim=1)
        return both.to(torch.promote_types(both.dtype, torch.float32))

    @cached_property
    def _gathered(self) -> Tensor:
        return self._collectives.gather(self._embedded)

    @cached_property
    def _same_image(self) -> Tensor:
        return self.batch.image_ids[:, None] == self._collectives.gather_constant(self.batch.image_ids)

    @cached_property
    def _own(self) -> Tensor:
        rows = len(self.batch)
        return torch.arange(rows, device=self.batch.pixels.device) + self._collectives.rank * rows

    def images(self, index: Tensor) -> ImageState:
        """Image states of global rows; on one rank nothing is computed anew, between ranks only features travel."""
        if self._collectives.world_size == 1:
            return self.image.select(index)
        return self.bridge.encode_image(self._for_bridge(self._collectives.exchange(self._encoded, index)))

    def texts(self, index: Tensor) -> Tokens:
        """Caption tokens of global rows, as wide as the longest of the global batch."""
        return self._all_captions.select(index)

    @cached_property
    def _all_captions(self) -> Tokens:
        if self._collectives.world_size == 1:
            return self.captions
        width = self._collectives.maximum(torch.tensor(self.captions.ids.shape[1], device=self.captions.ids.device))
        wide = self.captions.widen(int(width))
        ids, mask = self._collectives.gather_constant(torch.stack([wide.ids, wide.mask.long()], dim=1)).unbind(1)
        return Tokens(ids, mask.bool())

    def uniform(self, stream: str) -> Tensor:
        """Draw one number in [0,1) per local row [B] float64 from (seed, step, position in the run, stream)."""
        key = blake2b(f"{self._seed}/{self._step_number}/{stream}".encode(), digest_size=8).digest()
        return uniform(int.from_bytes(key, "little", signed=True), self.batch.positions)

    def mean(self, total: Tensor, count: Tensor | int) -> Tensor:
        """Turn a local sum into this rank's share of the mean over the global batch.

        Shares are world size times too big, since DDP averages over ranks, and small enough to be *added* over
        micro-batches: each micro-batch weighs the same, whatever it counts.
        """
        counts = self._collectives.sum(torch.as_tensor(count, dtype=torch.float64, device=total.device))
        scale = self._collectives.world_size / (counts.clamp(min=1) * self._micro_batches)
        return total * scale.to(total.dtype)

    def _for_bridge(self, features: Tensor) -> Tensor:
        return features.to(next(self._bridge.parameters()).dtype)
