"""Work: what the model does in one call, for questions of several clients."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from mmbridge_registry import Generation

if TYPE_CHECKING:
    from mmbridge.inference import Model


class Work(Hashable, Protocol):
    """Something that a model can do for many at once; questions of equal work go together."""

    def __call__(self, model: "Model", questions: Sequence[Any]) -> Sequence[Any]:
        """Give an answer per question."""
        ...


@dataclass(frozen=True)
class Completion:
    """Goes on with prompts; a question is (encoded images, prompt), an answer is text."""

    generation: Generation

    def __call__(self, model: "Model", questions: Sequence[tuple[Sequence[bytes], str]]) -> list[str]:
        images, prompts = zip(*questions, strict=True)
        return model.complete(images, prompts, self.generation)


@dataclass(frozen=True)
class TextEmbedding:
    """Embeds texts for ITC: an answer is one unit vector of C numbers."""

    def __call__(self, model: "Model", questions: Sequence[str]) -> list[list[float]]:
        return model.embed_texts(questions).tolist()


@dataclass(frozen=True)
class ImageEmbedding:
    """Embeds images for ITC: an answer is the mean of an image's Q unit vectors, scaled to length 1."""

    def __call__(self, model: "Model", questions: Sequence[bytes]) -> list[list[float]]:
        mean = model.embed_images(questions).mean(1)
        return (mean / mean.norm(dim=-1, keepdim=True)).tolist()
