"""The step: one batch on its way through the model; whatever objectives share is computed once, when asked for."""

# cached_property is a property that remembers; the type checker takes it for something else.
# pyright: reportIncompatibleMethodOverride=false, reportIncompatibleVariableOverride=false

from dataclasses import dataclass
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


@dataclass(frozen=True)
class Setting:
    """Where a step is taken: what all its rows share."""

    vision_encoder: VisionEncoder
    bridge: Bridge
    projection: nn.Module | None
    language_model: LanguageModel | None
    collectives: Collectives
    seed: int
    step_number: int


class StepOfBatch(Step):
    """A rank's rows of a step; every rank holds equally many."""

    def __init__(self, batch: Batch, setting: Setting) -> None:
        self.batch = batch
        self.setting = setting

    @property
    def bridge(self) -> TextBridge:
        """The bridge, if it reads text.

        Raises:
            TypeError: it does not; the objective should be offered with `requires=(TEXT_BRIDGE,)`.
        """
        if not isinstance(self.setting.bridge, TextBridge):
            raise TypeError(f"{type(self.setting.bridge).__name__} reads no text; offer the objective with requires=")
        return self.setting.bridge

    @property
    def language_model(self) -> LanguageModel:
        """The language model.

        Raises:
            TypeError: there is none; the objective should be offered with `requires=(DECODER,)` or the like.
        """
        if self.setting.language_model is None:
            raise TypeError("the model has no language model; offer the objective with requires=")
        return self.setting.language_model

    @cached_property
    def _encoded(self) -> Tensor:
        if self.batch.pixels is None:
            assert self.batch.features is not None  # a batch has either
            return self.batch.features
        return self._encode(self.batch.pixels)

    def _encode(self, pixels: Tensor) -> Tensor:
        with torch.set_grad_enabled(self._encoder_is_trained and torch.is_grad_enabled()):
            return self.setting.vision_encoder(pixels)

    @property
    def _encoder_is_trained(self) -> bool:
        return any(parameter.requires_grad for parameter in self.setting.vision_encoder.parameters())

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
        if self.setting.projection is None:
            raise TypeError("the model has no projection; offer the objective with requires=")
        has_state = isinstance(self.setting.bridge, TextBridge)
        return self.setting.projection(self.image.queries if has_state else self.setting.bridge(self.features))

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
            image_to_text, text_to_image = image_to_text / self._temperature, text_to_image / self._temperature
            return Similarity(image_to_text, text_to_image, self._same_image, self._own)

    @cached_property
    def _temperature(self) -> Tensor:
        return self.bridge.temperature

    @cached_property
    def _embedded(self) -> Tensor:
        """Text embedding and query embeddings [B,1+Q,C] of the local rows, together so that one gather serves both."""
        text = self.bridge.embed_text(self.bridge.encode_text(self.captions))
        both = torch.cat([text[:, None], self.bridge.embed_image(self.image)], dim=1)
        return both.to(torch.promote_types(both.dtype, torch.float32))

    @cached_property
    def _gathered(self) -> Tensor:
        return self.setting.collectives.gather(self._embedded)

    @cached_property
    def _same_image(self) -> Tensor:
        return self.batch.image_ids[:, None] == self.setting.collectives.gather_constant(self.batch.image_ids)

    @cached_property
    def _own(self) -> Tensor:
        rows = len(self.batch)
        return torch.arange(rows, device=self.batch.image_ids.device) + self.setting.collectives.rank * rows

    def images(self, index: Tensor) -> ImageState:
        """Image states of global rows; on one rank nothing is computed anew, between ranks only features travel."""
        if self.setting.collectives.world_size == 1:
            return self.image.select(index)
        return self.bridge.encode_image(self._for_bridge(self.setting.collectives.exchange(self._encoded, index)))

    def texts(self, index: Tensor) -> Tokens:
        """Caption tokens of global rows, as wide as the longest of the global batch."""
        return self._all_captions.select(index)

    @cached_property
    def _all_captions(self) -> Tokens:
        if self.setting.collectives.world_size == 1:
            return self.captions
        collectives, ids = self.setting.collectives, self.captions.ids
        width = collectives.maximum(torch.tensor(ids.shape[1], device=ids.device))
        wide = self.captions.widen(int(width))
        ids, mask = collectives.gather_constant(torch.stack([wide.ids, wide.mask.long()], dim=1)).unbind(1)
        return Tokens(ids, mask.bool())

    def carried_gradient(self) -> list[Tensor]:
        """Give the terms that carry gradient of losses taken elsewhere into the bridge: of a whole step, none."""
        return []

    def uniform(self, stream: str) -> Tensor:
        """Draw one number in [0,1) per local row [B] float64 from (seed, step, position in the run, stream)."""
        key = blake2b(f"{self.setting.seed}/{self.setting.step_number}/{stream}".encode(), digest_size=8).digest()
        return uniform(int.from_bytes(key, "little", signed=True), self.batch.positions)

    def _for_bridge(self, features: Tensor) -> Tensor:
        return features.to(next(self.setting.bridge.parameters()).dtype)
