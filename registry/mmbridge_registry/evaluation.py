"""The contract of evaluations, and of the model as they (and users) see it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

import torch
from torch import Tensor

from mmbridge_registry.dataset import Dataset
from mmbridge_registry.examples import Example, Found, Heatmap
from mmbridge_registry.intervals import of_mean
from mmbridge_registry.options import Generation

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Metric:
    """One number and what it must be read against."""

    value: float
    n: int
    """Items that the value was measured on."""
    chance: float | None = None
    """What guessing gives, by the same protocol."""
    ceiling: float | None = None
    """What the frozen language model reaches when it is told the truth as text."""
    interval: tuple[float, float] | None = None
    """In which 95 % of such measurements lie (`mmbridge_registry.intervals`); None where it was not estimated."""
    less_is_better: bool = False
    """Of two values the smaller is the better one, as of a perplexity."""

    @classmethod
    def mean(cls, values: Tensor | Sequence[float], chance: float | None = None, ceiling: float | None = None) -> Self:
        """Give the mean over items with its interval; `values` [n] hold one number per item."""
        numbers = torch.as_tensor(values, dtype=torch.float64)
        return cls(numbers.mean().item(), len(numbers), chance, ceiling, of_mean(numbers))


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation found: metrics by name, the protocol they follow, every prediction, and what to look at."""

    metrics: Mapping[str, Metric]
    protocol: str
    """One sentence: split, prompt, decoding, scoring."""
    examples: Sequence[Example] = field(default_factory=tuple)
    predictions: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    """One JSON object per item, under the names that the task's own result files have (`image_id`, `caption`;
    `question_id`, `answer`), with its truth and score beside them. Written line by line."""
    found: Sequence[Found] = field(default_factory=tuple)
    """Retrieval: some texts with the images found for them."""
    heatmap: Heatmap | None = None
    """Retrieval: how well some images fit some texts."""


class Matched(NamedTuple):
    """How well images and texts fit, pair by pair: two scores that do not compare with each other."""

    itm: Tensor
    """ITM probability [n] that the text describes the image: softmax, taken once, of the mean over queries."""
    itc: Tensor
    """ITC score [n]: the largest cosine over queries, not divided by the temperature."""


class EncodedImages(Protocol):
    """Images that the vision encoder has read once, to be compared with many texts."""

    def __len__(self) -> int: ...

    def embed(self) -> Tensor:
        """L2-normalised query embeddings [n,Q,C]."""
        ...

    def match(self, rows: Tensor, texts: Sequence[str]) -> Tensor:
        """ITM logits [m,2] of the pairs (image `rows[i]`, `texts[i]`); class 1 = a match. Rows may repeat."""
        ...


class VisionLanguage(Protocol):
    """A model that answers. Images are encoded bytes, paths or PIL images; every list may be of any length.

    What the model has not learned raises `UserError`.
    """

    def encode(self, images: Sequence["bytes | Path | str | Image"]) -> EncodedImages:
        """Run the vision encoder once per image and keep its features, for protocols that ask again and again."""
        ...

    def caption(
        self,
        images: Sequence["bytes | Path | str | Image"],
        prompt: str | Sequence[str] = "",
        generation: Generation = ...,
    ) -> list[str]:
        """Write a caption per image with the language model (or, without one, the text bridge itself)."""
        ...

    def answer(
        self,
        images: Sequence["bytes | Path | str | Image"],
        questions: str | Sequence[str] | None = None,
        prompt: str | Sequence[str] = "Question: {} Answer:",
        generation: Generation = ...,
    ) -> list[str]:
        """Answer one question per image; without questions the prompt itself is asked."""
        ...

    def complete(
        self,
        images: Sequence[Sequence["bytes | Path | str | Image"]],
        prompts: Sequence[str],
        generation: Generation = ...,
    ) -> list[str]:
        """Go on after prompts with any number of images each, in the places that `<image>` marks."""
        ...

    def rank(
        self,
        images: Sequence["bytes | Path | str | Image"],
        questions: str | Sequence[str] | None,
        candidates: Sequence[str] | Sequence[Sequence[str]],
        prompt: str | Sequence[str] = "Question: {} Answer:",
    ) -> list[list[float]]:
        """Log-likelihood (sum over tokens, natural log) of every candidate answer of every row."""
        ...

    def match(self, images: Sequence["bytes | Path | str | Image"], texts: Sequence[str]) -> Matched:
        """Compare image i with text i."""
        ...

    def embed_images(self, images: Sequence["bytes | Path | str | Image"]) -> Tensor:
        """L2-normalised query embeddings [n,Q,C]."""
        ...

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """L2-normalised text embeddings [n,C]."""
        ...

    def likelihood(self, images: Sequence["bytes | Path | str | Image"], texts: Sequence[str]) -> Tensor:
        """How likely the bridge's own decoder finds caption i of image i (ITG): [n,2], the natural log of its
        probability, summed over its tokens and its end, and how many tokens those are."""
        ...


class Evaluation(ABC):
    """A protocol: what to ask a model about a dataset, and how to score it."""

    @abstractmethod
    def evaluate(self, model: VisionLanguage, dataset: Dataset) -> Evaluated:
        """Run the protocol."""
