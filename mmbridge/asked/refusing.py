"""A model that is asked before it is trained: it refuses what it will not have learned, and answers nothing."""

from collections.abc import Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor

from mmbridge.inference import Model
from mmbridge.inference.encoded import EncodedFeatures


class AnswerableError(BaseException):
    """What was asked could be answered. No mistake, so that nobody catches it as one."""


class RefusingModel:
    """A `VisionLanguage` that asks its model about no images at all.

    What the model has not learned raises `UserError` as ever; a question that it could answer ends whatever asked it.

    Raises:
        AnswerableError: it could answer.
    """

    def __init__(self, model: Model) -> None:
        self.model = model

    def caption(self, *_: Any, **__: Any) -> NoReturn:
        """See `VisionLanguage`, here and below."""
        raise AnswerableError(self.model.caption([]))

    def answer(self, *_: Any, **__: Any) -> NoReturn:
        raise AnswerableError(self.model.answer([], []))

    def complete(self, *_: Any, **__: Any) -> NoReturn:
        raise AnswerableError(self.model.complete([], []))

    def rank(self, *_: Any, **__: Any) -> NoReturn:
        raise AnswerableError(self.model.rank([], [], []))

    def match(self, *_: Any, **__: Any) -> NoReturn:
        raise AnswerableError(self.model.match([], []))

    def likelihood(self, *_: Any, **__: Any) -> NoReturn:
        raise AnswerableError(self.model.likelihood([], []))

    def embed_images(self, *_: Any, **__: Any) -> NoReturn:
        raise AnswerableError(self.model.embed_images([]))

    def embed_texts(self, *_: Any, **__: Any) -> NoReturn:
        raise AnswerableError(self.model.embed_texts([]))

    def encode(self, images: Sequence[Any]) -> "RefusedImages":
        return RefusedImages(len(images), self.model.encode([]))


class RefusedImages:
    """`EncodedImages` that nobody has encoded. Their embeddings are zeros, since a text is asked for next."""

    def __init__(self, count: int, images: EncodedFeatures) -> None:
        self.count, self.images = count, images

    def __len__(self) -> int:
        return self.count

    def embed(self) -> Tensor:
        """See `EncodedImages`, here and below."""
        return torch.zeros(self.count, *self.images.embed().shape[1:])

    def match(self, *_: Any) -> NoReturn:
        raise AnswerableError(self.images.match(torch.empty(0, dtype=torch.long), []))
