"""Image-text matching: tell true pairs from pairs with a wrong partner, drawn where the contrast is most mistaken."""

from collections.abc import Mapping

import torch
from mmbridge_registry import Draft, Objective, ObjectiveLoss, Similarity, Step, Tokens
from mmbridge_registry.objective import Prepared
from torch import Tensor
from torch.nn import functional as F

from mmbridge_objectives import MatchOptions
from mmbridge_objectives.negatives import draw, hard, uniform


class ImageTextMatching(Objective):
    """Two-class cross-entropy of each true pair and its two wrong ones (BLIP-2, section 3.1)."""

    passes = frozenset({"match"})

    def __init__(self, options: MatchOptions) -> None:
        super().__init__()
        self.weigh = {"hard": hard, "uniform": uniform}[options.negatives]

    def prepare(self, draft: Draft) -> Mapping[str, Prepared]:
        """Tokenise captions."""
        return {"captions": draft.captions}

    def count(self, step: Step) -> Tensor:
        """Count pairs: three per row, one where all of the global batch is the same image."""
        has_wrong = ~step.similarity().same_image.all(1)
        return (1 + 2 * has_wrong).sum()

    def forward(self, step: Step) -> ObjectiveLoss:
        """Draw the wrong partners and score all pairs."""
        return self.score(step, *self.mine(step))

    def mine(self, step: Step) -> tuple[Tensor, Tensor]:
        """Draw a wrong image for every text and a wrong text for every image: global rows [B] each.

        A row whose image is the only one in the global batch gets its own partner, which `score` leaves out.
        """
        similarity = step.similarity()
        return (
            self._draw(similarity, similarity.text_to_image, step.uniform("itm/image")),
            self._draw(similarity, similarity.image_to_text, step.uniform("itm/text")),
        )

    def score(self, step: Step, wrong_images: Tensor, wrong_texts: Tensor) -> ObjectiveLoss:
        """Score the pairs (image, text), (image, wrong text), (wrong image, text); the metric is how many are right."""
        rows = torch.arange(len(step.batch), device=wrong_images.device)
        texts = Tokens.cat([step.captions, step.texts(wrong_texts)])
        own_images = step.bridge.match(step.image.select(torch.cat([rows, rows])), texts)
        logits = torch.cat([own_images, step.bridge.match(step.images(wrong_images), step.captions)])
        same = step.similarity().same_image
        is_match = torch.ones_like(same[:, 0])
        wrong = [~same.gather(1, index[:, None])[:, 0] for index in (wrong_texts, wrong_images)]
        counted = torch.cat([is_match, *wrong])
        labels = torch.cat([is_match, ~is_match, ~is_match]).long()
        losses = F.cross_entropy(logits, labels, reduction="none").where(counted, 0)
        right = (logits.detach().argmax(-1) == labels) & counted
        return ObjectiveLoss(losses.sum(), {"accuracy": right.float().sum()})

    def _draw(self, similarity: Similarity, logits: Tensor, numbers: Tensor) -> Tensor:
        # Detached: nothing is learned from having drawn a pair.
        candidates = ~similarity.same_image
        return draw(self.weigh(logits.detach(), candidates), numbers, similarity.own)
