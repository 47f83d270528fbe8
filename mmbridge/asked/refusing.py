"""A model that is asked before it is trained: it refuses what it will not have learned, and answers nothing."""

from typing import Any, NoReturn

import torch

from mmbridge.inference import Model
from mmbridge.inference.encoded import EncodedFeatures
from mmbridge.inference.listing import Images, listed


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

    def encode(self, images: Images) -> "RefusedImages":
        return RefusedImages(len(listed(images)), self.model.encode([]))


class RefusedImages:
    """`EncodedImages` that nobody has encoded."""

    def __init__(self, count: int, images: EncodedFeatures) -> None:
        self.count, self.images = count, images

    def __len__(self) -> int:
        return self.count

    def embed(self) -> NoReturn:
        """See `EncodedImages`, here and below."""
        raise AnswerableError(self.images.embed())

    def match(self, *_: Any) -> NoReturn:
        raise AnswerableError(self.images.match(torch.empty(0, dtype=torch.long), []))
