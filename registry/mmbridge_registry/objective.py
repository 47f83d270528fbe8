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

    pixels: Tensor
    """[3,H,W] float32."""
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
    """A scalar loss for backward, and scalars to log beside it (detached)."""

    loss: Tensor
    metrics: Mapping[str, Tensor] = field(default_factory=dict)


class Objective(nn.Module, ABC):
    """One term of a stage's loss. Usually without parameters: the heads belong to the bridge."""

    passes: ClassVar[frozenset[Pass]]
    """What it asks of the bridge; decides which parameters a stage trains."""

    @abstractmethod
    def prepare(self, draft: Draft) -> Mapping[str, Prepared]:
        """Name the tensors it needs, in a loader worker. Objectives that share a name share the tensors."""

    @abstractmethod
    def forward(self, step: "Step") -> ObjectiveLoss:
        """Compute the loss of this step: its mean over the global batch, as `Step.mean` takes it."""
