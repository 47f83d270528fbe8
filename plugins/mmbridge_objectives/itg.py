"""Image-grounded text generation: the text bridge writes the caption, seeing the image only through its queries."""

from collections.abc import Callable, Mapping
from functools import partial

from mmbridge_registry import Draft, Objective, ObjectiveLoss, Step
from mmbridge_registry.objective import Prepared
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from mmbridge_objectives import GenerationOptions

CHUNK = 4096
"""Tokens whose logits exist at once: 0.5 GB of float32 at BERT's vocabulary."""


class ImageGroundedGeneration(Objective):
    """Cross-entropy of the caption's tokens, mean over the tokens of the global batch (BLIP-2, section 3.1)."""

    passes = frozenset({"decode"})

    def __init__(self, options: GenerationOptions) -> None:
        super().__init__()
        self.options = options

    def prepare(self, draft: Draft) -> Mapping[str, Prepared]:
        """Tokenise captions."""
        return {"captions": draft.captions}

    def count(self, step: Step) -> Tensor:
        """Count tokens after the first."""
        return step.captions.mask[:, 1:].sum()

    def forward(self, step: Step) -> ObjectiveLoss:
        """Predict every token after the first; logits exist only where there is a target."""
        captions = step.captions
        scored = captions.mask[:, 1:]
        hidden = step.bridge.decode_text(step.image, captions)[:, :-1][scored]
        targets = captions.ids[:, 1:][scored]
        score = partial(_token_loss, step.bridge.vocabulary_logits, self.options.label_smoothing)
        return ObjectiveLoss(chunked(score, hidden, targets))


def chunked(score: Callable[[Tensor, Tensor], Tensor], hidden: Tensor, targets: Tensor, size: int = CHUNK) -> Tensor:
    """Add up `score(hidden, targets)` over chunks of rows; what it makes of a chunk is forgotten until backward."""
    if len(hidden) <= size:
        return score(hidden, targets)
    chunks = zip(hidden.split(size), targets.split(size), strict=True)
    losses: list[Tensor] = [checkpoint(score, *chunk, use_reentrant=False) for chunk in chunks]
    return sum(losses[1:], start=losses[0])


def _token_loss(logits_of: Callable[[Tensor], Tensor], smoothing: float, hidden: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(logits_of(hidden), targets, label_smoothing=smoothing, reduction="sum")
