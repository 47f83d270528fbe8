"""The image-shuffle probe: a model that is shown another image than the one it is asked about."""

from collections.abc import Sequence
from typing import Any

from mmbridge_registry import EncodedImages, Matched, VisionLanguage
from torch import Tensor


class ExchangedImages:
    """A `VisionLanguage` that answers everything for the image half a data set away.

    Neighbours are often the same image, with another question; what lies half of all images away is not. What such a
    model scores is what can be scored without looking.
    """

    def __init__(self, model: VisionLanguage) -> None:
        self.model = model

    def caption(self, images: Sequence[Any], *asked: Any, **how: Any) -> list[str]:
        """See `VisionLanguage`, here and below."""
        return self.model.caption(exchanged(images), *asked, **how)

    def answer(self, images: Sequence[Any], *asked: Any, **how: Any) -> list[str]:
        return self.model.answer(exchanged(images), *asked, **how)

    def complete(self, images: Sequence[Sequence[Any]], *asked: Any, **how: Any) -> list[str]:
        others = iter(exchanged([image for row in images for image in row]))
        return self.model.complete([[next(others) for _ in row] for row in images], *asked, **how)

    def rank(self, images: Sequence[Any], *asked: Any, **how: Any) -> list[list[float]]:
        return self.model.rank(exchanged(images), *asked, **how)

    def match(self, images: Sequence[Any], texts: Sequence[str]) -> Matched:
        return self.model.match(exchanged(images), texts)

    def likelihood(self, images: Sequence[Any], texts: Sequence[str]) -> Tensor:
        return self.model.likelihood(exchanged(images), texts)

    def embed_images(self, images: Sequence[Any]) -> Tensor:
        return self.model.embed_images(exchanged(images))

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        return self.model.embed_texts(texts)

    def encode(self, images: Sequence[Any]) -> EncodedImages:
        return self.model.encode(exchanged(images))


def exchanged(images: Sequence[Any]) -> list[Any]:
    """Give images in the places of others: the second half first."""
    half = len(images) // 2
    return [*images[half:], *images[:half]]
