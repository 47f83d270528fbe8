"""Images that the vision encoder has read once, to be compared with many texts."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from mmbridge_registry import ImageState, TextBridge
from torch import Tensor

if TYPE_CHECKING:
    from mmbridge.inference import Model


class EncodedFeatures:
    """Encoder features of n images on the CPU, in the dtype in which the encoder gave them."""

    def __init__(self, model: "Model", bridge: TextBridge, features: Sequence[Tensor]) -> None:
        self.model = model
        self.bridge = bridge
        self.features = features

    def __len__(self) -> int:
        return len(self.features)

    def embed(self) -> Tensor:
        """L2-normalised query embeddings [n,Q,C]."""
        embedded = []
        with self.model.answering():
            for rows in self.model.batches(len(self)):
                state = self._state(range(len(self))[rows])
                embedded.append(self.bridge.embed_image(state).float().cpu())
        return torch.cat(embedded)

    def match(self, rows: Tensor, texts: Sequence[str]) -> Tensor:
        """ITM logits [m,2] of the pairs (image `rows[i]`, `texts[i]`).

        An image's state is computed once per batch in which it stands, so pairs sorted by image are cheapest.
        """
        logits = []
        with self.model.answering():
            for batch in self.model.batches(len(texts)):
                images, place = rows[batch].unique(return_inverse=True)
                tokens = self.model.tokens(texts[batch])
                state = self._state(images.tolist()).select(place.to(self.model.bridged.device))
                logits.append(self.bridge.match(state, tokens).float().cpu())
        return torch.cat(logits) if logits else torch.empty(0, 2)

    def _state(self, rows: Sequence[int]) -> ImageState:
        return self.bridge.encode_image(torch.stack([self.features[row] for row in rows]).to(self.model.bridged.device))
