"""The contract of objectives: what a stage minimises."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor, nn

from mmbridge_registry.bridge import Pass
from mmbridge_registry.language_model import LanguageTokenizer, LanguageTokens
from mmbridge_registry.tokens import TextTokenizer, Tokens

if TYPE_CHECKING:
    from mmbridge_registry.step import Step

Prepared = Tokens | LanguageTokens | Tensor


@dataclass(frozen=True)
class Sample:
    """One record, ready for the model: everything that was random is drawn from (seed, position)."""

    pixels: Tensor | None
    """[3,H,W] float32; None if the sample comes with features."""
    text: str
    """One caption of the record, cleaned; empty if it has none."""
    question: str | None
    answer: str | None
    """One of the record's answers; None without a question."""
    image_id: int
    """Same number, same image, over all datasets of the run."""
    position: int
    """Place in the run's global order."""
    seed: int
    """Seed of this sample's own draws, a function of (run seed, position)."""
    features: Tensor | None = None
    """[N,W] what a frozen encoder made of the pixels, if it was written down beforehand."""


@dataclass(frozen=True)
class Draft:
    """A batch being prepared in a loader worker; what several objectives need is made once."""

    samples: Sequence[Sample]
    bridge_tokenizer: TextTokenizer | None
    language_tokenizer: LanguageTokenizer | None

    @cached_property
    def captions(self) -> Tokens:
        """Tokens of the samples' texts by the bridge's tokenizer, padded to the longest."""
        if self.bridge_tokenizer is None:
            raise TypeError("this objective reads captions, but the bridge has no tokenizer; offer it with requires=")
        return self.bridge_tokenizer([sample.text for sample in self.samples])

    def language(self, prompts: Sequence[str], targets: Sequence[str]) -> LanguageTokens:
        """Tokens of (prompt, target) pairs by the language model's tokenizer."""
        if self.language_tokenizer is None:
            raise TypeError("this objective writes text, but there is no language model; offer it with requires=")
        return self.language_tokenizer(prompts, targets)


@dataclass(frozen=True)
class ObjectiveLoss:
    """Sums over a step's rows; the framework makes means over the global batch of them, by `Objective.count`."""

    total: Tensor
    """Scalar, for backward."""
    metrics: Mapping[str, Tensor] = field(default_factory=dict)
    """Scalars to log beside it, detached: sums like `total`, and divided like it."""


class Objective(nn.Module, ABC):
    """One term of a stage's loss. Usually without parameters: the heads belong to the bridge.

    It may be asked for a few rows of the global batch at a time, and what it says of them is added up. So a row's
    terms depend on that row, and on other rows only by what a `Step` tells of the global batch.
    """

    passes: ClassVar[frozenset[Pass]]
    """What it asks of the bridge: where its gradient goes, and so which parameters a stage trains.

    Similarities reach an objective without `contrast` as constants; one with `contrast` has no other pass.
    """

    @abstractmethod
    def prepare(self, draft: Draft) -> Mapping[str, Prepared]:
        """Name the tensors it needs, in a loader worker. Objectives that share a name share the tensors."""

    def count(self, step: "Step") -> Tensor | int:
        """Count the terms in `forward`'s sums (tokens, pairs): known before the model runs. Here: one per row."""
        return len(step.batch)

    @abstractmethod
    def forward(self, step: "Step") -> ObjectiveLoss:
        """Add up the loss over this step's rows. Going backward is the framework's: it averages over the ranks too."""
