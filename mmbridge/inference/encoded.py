"""Images that the vision encoder has read once, to be compared with many texts."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from mmbridge_registry import ImageState, Matched, TextBridge, Tokens
from torch import Tensor

from mmbridge.inference.learned import text_bridge_in_step, text_bridge_of

if TYPE_CHECKING:
    from mmbridge.inference.comparing import Comparing


class EncodedFeatures:
    """Encoder features of n images on the CPU, in the dtype in which the encoder gave them."""

    def __init__(self, model: "Comparing", features: Sequence[Tensor]) -> None:
        self.model = model
        self.features = features

    def __len__(self) -> int:
        return len(self.features)

    def embed(self) -> Tensor:
        """L2-normalised query embeddings [n,Q,C]."""
        bridge, embedded = text_bridge_in_step(self.model.bridged, "contrast"), []
        with self.model.answering():
            for rows in self.model.batches(len(self)):
                state = self._state(bridge, range(len(self))[rows])
                embedded.append(bridge.embed_image(state).float().cpu())
        return torch.cat(embedded) if embedded else torch.empty(0, bridge.num_queries, 0)

    def match(self, rows: Tensor, texts: Sequence[str]) -> Tensor:
        """ITM logits [m,2] of the pairs (image `rows[i]`, `texts[i]`).

        An image's state is computed once per batch in which it stands, so pairs sorted by image are cheapest.
        """
        # Not refused where no stage has trained it: evaluations use this, and measure what there is, beside chance.
        bridge, logits = text_bridge_of(self.model.bridged), []
        with self.model.answering():
            for batch in self.model.batches(len(texts)):
                state, tokens = self._pairs(bridge, rows[batch], texts[batch])
                logits.append(bridge.match(state, tokens).float().cpu())
        return torch.cat(logits) if logits else torch.empty(0, 2)

    def compare(self, rows: Tensor, texts: Sequence[str]) -> Matched:
        """ITM probabilities and ITC cosines [m] of the pairs (image `rows[i]`, `texts[i]`)."""
        bridge = text_bridge_in_step(self.model.bridged, "match", "contrast")
        with self.model.answering():
            scores = [
                matched(bridge, *self._pairs(bridge, rows[batch], texts[batch]))
                for batch in self.model.batches(len(texts))
            ]
        return joined(scores)

    def _pairs(self, bridge: TextBridge, rows: Tensor, texts: Sequence[str]) -> tuple[ImageState, Tokens]:
        images, place = rows.unique(return_inverse=True)
        state = self._state(bridge, images.tolist())
        return state.select(place.to(self.model.bridged.device)), self.model.tokens(texts)

    def _state(self, bridge: TextBridge, rows: Sequence[int]) -> ImageState:
        return bridge.encode_image(torch.stack([self.features[row] for row in rows]).to(self.model.bridged.device))


def matched(bridge: TextBridge, state: ImageState, tokens: Tokens) -> Matched:
    """Compare images with as many texts, float32 on the CPU; see `Matched`."""
    itm = bridge.match(state, tokens).float().softmax(-1)[:, 1]
    texts = bridge.embed_text(bridge.encode_text(tokens)).float()
    itc = (bridge.embed_image(state).float() @ texts[..., None]).amax((1, 2))
    return Matched(itm.cpu(), itc.cpu())


def joined(batches: Sequence[Matched]) -> Matched:
    """Put the scores of batches behind each other."""
    if not batches:
        return Matched(torch.empty(0), torch.empty(0))
    return Matched(torch.cat([batch.itm for batch in batches]), torch.cat([batch.itc for batch in batches]))
