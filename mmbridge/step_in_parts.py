"""A step in parts: each a few rows that have a graph, and the whole batch, which tells them what they need of it."""

# cached_property is a property that remembers; the type checker takes it for something else.
# pyright: reportIncompatibleMethodOverride=false, reportIncompatibleVariableOverride=false

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Literal

import torch
from mmbridge_registry import Batch, ImageState, Similarity, Tokens
from torch import Tensor

from mmbridge.step import Setting, StepOfBatch


class StepInParts(StepOfBatch):
    """All of a rank's rows. Embeddings and temperature end the graph here: a loss on them leaves its gradient there.

    A frozen encoder sees every row once, and its features are kept.
    """

    def __init__(self, batch: Batch, setting: Setting, size: int, seed: Callable[[int], None]) -> None:
        super().__init__(batch, setting)
        self.size = size
        self._seed_part = seed
        self.number_of_parts = -(-len(batch) // size)

    def parts(self, carry: bool) -> Iterator["RowsOfStep"]:
        """Give the parts in order, each with torch's generators as they always are for it.

        `carry` says whether they bring the gradient that embeddings and temperature have got into the bridge.
        """
        for number, part in enumerate(self.batch.split(self.size)):
            self._seed_part(number)
            yield RowsOfStep(part, self, slice(number * self.size, (number + 1) * self.size), carry)

    @cached_property
    def _embedded(self) -> Tensor:
        with torch.no_grad():
            embedded = torch.cat([part._embedded for part in self.parts(carry=False)])
        # Autocast remembers weights that were cast here, without graph.
        torch.clear_autocast_cache()
        return embedded.requires_grad_()

    @cached_property
    def _temperature(self) -> Tensor:
        return self.bridge.temperature.detach().requires_grad_()

    def carried(self, rows: slice, embedded: Tensor, temperature: Tensor) -> list[Tensor]:
        """Multiply what local rows are, with a graph, by the gradient that was left for them here."""
        shares = (
            (embedded, _left(self._embedded)[rows]),
            (temperature, _left(self._temperature) / self.number_of_parts),
        )
        return [(value * share).sum() for value, share in shares]

    def _encode(self, pixels: Tensor) -> Tensor:
        return torch.cat([super(StepInParts, self)._encode(some) for some in pixels.split(self.size)])

    def encoded(self, rows: slice) -> Tensor | None:
        """Give the kept features of local rows; None if the encoder is trained: then they need a graph of their own."""
        return None if self._encoder_is_trained else self._encoded[rows]

    def fetched(self, index: Tensor) -> Tensor:
        """Give encoder features of global rows `index` [n], made anew and with a graph if the encoder is trained."""
        exchange = self.setting.collectives.exchange
        if not self._encoder_is_trained:
            return exchange(self._encoded, index)
        assert self.batch.pixels is not None  # features that were written down have no encoder to train
        return self._encode(exchange(self.batch.pixels, index))


class RowsOfStep(StepOfBatch):
    """Some of a rank's rows; whatever is of the global batch comes from the whole step, as constants."""

    def __init__(self, batch: Batch, whole: StepInParts, rows: slice, carry: bool) -> None:
        super().__init__(batch, whole.setting)
        self.whole, self.rows, self.carry = whole, rows, carry

    @cached_property
    def _encoded(self) -> Tensor:
        kept = self.whole.encoded(self.rows)
        return super()._encoded if kept is None else kept

    def similarity(self, gather: Literal["exact", "nograd"] = "exact") -> Similarity:
        """Similarities of these rows to the global batch, as constants."""
        whole = self.whole.similarity(gather)
        images, texts = _constant(whole.image_to_text[self.rows]), _constant(whole.text_to_image[self.rows])
        return Similarity(images, texts, whole.same_image[self.rows], whole.own[self.rows])

    def images(self, index: Tensor) -> ImageState:
        """Image states of global rows, computed here and with a graph of their own."""
        return self.bridge.encode_image(self._for_bridge(self.whole.fetched(index)))

    def texts(self, index: Tensor) -> Tokens:
        """Caption tokens of global rows, as wide as the longest of the global batch."""
        return self.whole.texts(index)

    def carried_gradient(self) -> list[Tensor]:
        """Give what has the gradient that the contrast of the whole batch has with respect to these rows.

        Every part brings its share of the temperature's, so that the last one reaches it too, as DDP wants.
        """
        return self.whole.carried(self.rows, self._embedded, self._temperature) if self.carry else []


def _left(leaf: Tensor) -> Tensor:
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad


def _constant(scores: Tensor) -> Tensor:
    scores = scores.detach().requires_grad_()
    scores.register_hook(_refuse)
    return scores


def _refuse(gradient: Tensor) -> None:
    raise TypeError("gradient flows into the similarities from an objective without the pass 'contrast'; detach them")
