"""Prefix language modelling: an encoder-decoder reads [queries][first words] and writes the rest of the caption."""

from collections.abc import Mapping
from random import Random

from mmbridge_registry import Draft, Objective, ObjectiveLoss, Sample, Step
from mmbridge_registry.objective import Prepared
from torch import Tensor

from mmbridge_objectives import PrefixOptions
from mmbridge_objectives.lm import asked, language_loss, scored


class PrefixLanguageModelling(Objective):
    """Cross-entropy of the suffix, mean over the tokens of the global batch (BLIP-2, section 3.2)."""

    passes = frozenset({"image"})

    def __init__(self, options: PrefixOptions) -> None:
        super().__init__()
        self.options = options

    def prepare(self, draft: Draft) -> Mapping[str, Prepared]:
        """Split captions and tokenise both parts."""
        prefixes, suffixes = zip(*map(self.prefix_and_suffix, draft.samples), strict=True)
        return {"prefix_lm": draft.language(prefixes, suffixes)}

    def prefix_and_suffix(self, sample: Sample) -> tuple[str, str]:
        """Give what is read and what is written: question and answer, or the two parts of the caption."""
        return asked(sample, self.options) or split(sample.text, Random(sample.seed))

    def count(self, step: Step) -> Tensor:
        """Count the suffixes' tokens."""
        return scored(step, "prefix_lm")

    def forward(self, step: Step) -> ObjectiveLoss:
        """Score the suffixes, given the soft prompt."""
        return language_loss(step, "prefix_lm")


def split(caption: str, random: Random) -> tuple[str, str]:
    """Cut a caption at a blank, drawn uniformly from behind its first word to its middle.

    The authors say so in LAVIS issue 139 and give no unit; ours is the word. One word alone is all suffix.
    """
    words = caption.split(" ")
    cut = random.randint(1, len(words) // 2) if len(words) > 1 else 0
    return " ".join(words[:cut]), " ".join(words[cut:])
