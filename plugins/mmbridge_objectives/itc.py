"""Image-text contrast: an image and its caption should find each other in the global batch."""

from collections.abc import Mapping

import torch
from mmbridge_registry import Draft, Objective, ObjectiveLoss, Step
from mmbridge_registry.objective import Prepared
from torch import Tensor
from torch.nn import functional as F

from mmbridge_objectives import ContrastOptions


class ImageTextContrast(Objective):
    """Cross-entropy over the global batch in both directions, halved (BLIP-2, section 3.1)."""

    passes = frozenset({"contrast"})

    def __init__(self, options: ContrastOptions) -> None:
        super().__init__()
        self.options = options

    def prepare(self, draft: Draft) -> Mapping[str, Prepared]:
        """Tokenise captions."""
        return {"captions": draft.captions}

    def forward(self, step: Step) -> ObjectiveLoss:
        """Compare local rows with the global batch; metrics are the shares of rows that rank a true partner first."""
        similarity = step.similarity(self.options.gather)
        both = torch.stack([similarity.image_to_text, similarity.text_to_image])
        targets = soft_targets(similarity.same_image, self.options.label_smoothing).to(both.dtype)
        total = -(targets * F.log_softmax(both, dim=-1)).sum() / 2
        right = _first_is_true(both, similarity.same_image)
        return ObjectiveLoss(total, {"image_to_text_accuracy": right[0], "text_to_image_accuracy": right[1]})


def soft_targets(positive: Tensor, smoothing: float) -> Tensor:
    """Share the target among a row's positives [B,G] bool and, smoothed, among all G columns."""
    rows, columns = positive.sum(1, keepdim=True), positive.shape[1]
    return (1 - smoothing) * positive.double() / rows + smoothing / columns


def _first_is_true(similarity: Tensor, positive: Tensor) -> Tensor:
    first = similarity.detach().argmax(-1, keepdim=True)
    return positive.expand_as(similarity).gather(-1, first).float().sum((1, 2))
