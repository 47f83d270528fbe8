"""Language modelling: a decoder continues [queries][prompt] with the caption or the answer."""

from collections.abc import Mapping

from mmbridge_registry import Draft, LanguageTokens, Objective, ObjectiveLoss, Sample, Step
from mmbridge_registry.language_model import IGNORED
from mmbridge_registry.objective import Prepared
from torch import Tensor

from mmbridge_objectives import CaptionOptions, LanguageOptions


class LanguageModelling(Objective):
    """The decoder's own cross-entropy, mean over the tokens of the global batch (BLIP-2, section 3.2)."""

    passes = frozenset({"image"})

    def __init__(self, options: CaptionOptions) -> None:
        super().__init__()
        self.options = options

    def prepare(self, draft: Draft) -> Mapping[str, Prepared]:
        """Tokenise prompts and targets."""
        prompts, targets = zip(*map(self.prompt_and_target, draft.samples), strict=True)
        return {"lm": draft.language(prompts, targets)}

    def prompt_and_target(self, sample: Sample) -> tuple[str, str]:
        """Give what is read and what is written: question and answer, or the caption."""
        return asked(sample, self.options) or (self.options.prompt, sample.text)

    def count(self, step: Step) -> Tensor:
        """Count the targets' tokens."""
        return scored(step, "lm")

    def forward(self, step: Step) -> ObjectiveLoss:
        """Score the targets, given the soft prompt."""
        return language_loss(step, "lm")


def asked(sample: Sample, options: LanguageOptions) -> tuple[str, str] | None:
    """Give the prompt that asks the sample's question and its answer; None for a sample without a question."""
    if sample.question is None or sample.answer is None:
        return None
    return options.question_prompt.replace("{}", sample.question), sample.answer


def language_loss(step: Step, name: str) -> ObjectiveLoss:
    """Take the language model's loss on `prepared[name]`."""
    return ObjectiveLoss(step.language_model.loss(step.soft_prompt, _tokens(step, name)).total)


def scored(step: Step, name: str) -> Tensor:
    """Count the labels of `prepared[name]` that are scored: those that a language model counts itself."""
    return (_tokens(step, name).labels != IGNORED).sum()


def _tokens(step: Step, name: str) -> LanguageTokens:
    tokens = step.batch.prepared[name]
    assert isinstance(tokens, LanguageTokens)
    return tokens
