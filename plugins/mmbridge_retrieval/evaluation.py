"""The protocol: rank by ITC, rank the best k again by ITM, in both directions."""

from math import hypot

import torch
from mmbridge_registry import Dataset, EncodedImages, Evaluated, Evaluation, Metric, VisionLanguage
from mmbridge_registry.intervals import of_share
from torch import Tensor

from mmbridge_retrieval import RetrievalOptions
from mmbridge_retrieval.gallery import Gallery
from mmbridge_retrieval.ranking import candidates, chance, found, hardest
from mmbridge_retrieval.showing import examples, heatmap, predictions, searches

KS = (1, 5, 10)
COMPARED = 8
"""Images, and as many texts, of the heat map."""
FUSION = {"sum": "ITM logit + cosine", "itm": "ITM logit"}


class Retrieval(Evaluation):
    """R@1, R@5, R@10 both ways, by ITC alone and re-ranked; and whether ITM tells true pairs from the hardest."""

    def __init__(self, options: RetrievalOptions) -> None:
        self.options = options

    def evaluate(self, model: VisionLanguage, dataset: Dataset) -> Evaluated:
        """Run the protocol; the vision encoder reads each image once.

        Raises:
            UserError: a record without text, or fewer than two images.
        """
        gallery = Gallery.of(dataset)
        truth, images = gallery.truth(), model.encode(gallery.images)
        similarity = cosine(images.embed(), model.embed_texts(gallery.texts))
        metrics, to_text, to_image = recalls(similarity, similarity, truth, prefix="itc_"), similarity, similarity
        rows, columns = gallery.sample(COMPARED)
        block = torch.tensor(rows)[:, None], torch.tensor(columns)
        compared, meaning = similarity[block], "largest cosine over queries"
        if self.options.fusion != "itc":
            by_image, by_text = candidates(similarity, self.options.candidates)
            hard = torch.zeros_like(truth).scatter_(1, hardest(similarity, truth)[:, None], True)
            asked = by_image | by_text | truth | hard
            asked[block] = True
            logits = match_where(images, gallery.texts, asked)
            to_text, to_image = fused(logits[..., 1], similarity, by_image, by_text, self.options.fusion)
            metrics |= recalls(to_text, to_image, truth) | {"itm_accuracy": itm_accuracy(logits, truth, hard)}
            compared, meaning = logits[block].softmax(-1)[..., 1], "ITM probability"
        return Evaluated(
            metrics,
            self.protocol(gallery),
            examples(gallery, to_text, truth),
            predictions(gallery, to_text, to_image, truth),
            searches(gallery, to_image, truth),
            heatmap(gallery, rows, columns, compared, meaning),
        )

    def protocol(self, gallery: Gallery) -> str:
        """Say how the numbers were made."""
        n, m, k = len(gallery.images), len(gallery.texts), self.options.candidates
        said = f"{n} images, {m} texts; ITC: largest cosine over queries, no temperature; ties count as misses"
        if self.options.fusion == "itc":
            return said
        return (
            f"{said}; re-ranked: the best {min(k, m)} texts of an image and {min(k, n)} images of a text "
            f"by {FUSION[self.options.fusion]}; ITM accuracy: true pairs against each image's most similar wrong text"
        )


def cosine(images: Tensor, texts: Tensor) -> Tensor:
    """Largest cosine over queries [n,m] of embeddings [n,Q,C] and [m,C], without holding [n,m,Q]."""
    return torch.stack([(texts @ queries.T).amax(1) for queries in images])


def match_where(images: EncodedImages, texts: list[str], mask: Tensor) -> Tensor:
    """ITM logits [n,m,2] of the pairs in `mask` [n,m]; 0 elsewhere."""
    rows, columns = mask.nonzero(as_tuple=True)
    matched = images.match(rows, [texts[column] for column in columns.tolist()])
    logits = matched.new_zeros(*mask.shape, 2)
    logits[rows, columns] = matched
    return logits


def fused(itm: Tensor, itc: Tensor, by_image: Tensor, by_text: Tensor, fusion: str) -> tuple[Tensor, Tensor]:
    """Scores [n,m] of texts for an image and of images for a text, from ITM logits and cosines; -inf where a pair is
    no candidate."""
    score = itm + itc if fusion == "sum" else itm
    return score.masked_fill(~by_image, -torch.inf), score.masked_fill(~by_text, -torch.inf)


def recalls(to_text: Tensor, to_image: Tensor, truth: Tensor, prefix: str = "") -> dict[str, Metric]:
    """R@k in both directions, from scores [n,m] of each."""
    directions = {"image_to_text": (to_text, truth), "text_to_image": (to_image.T, truth.T)}
    return {
        f"{prefix}{name}_r{k}": Metric.mean(found(scores, true, k), chance(true, k))
        for name, (scores, true) in directions.items()
        for k in KS
    }


def itm_accuracy(logits: Tensor, truth: Tensor, hard: Tensor) -> Metric:
    """Mean of the accuracies on true pairs and on hard negatives, so that always saying one thing gives 0.5.

    The interval is put together of those of the two shares (Zou and Donner, 2008).
    """
    says_match = logits[..., 1] > logits[..., 0]
    answers = says_match[truth], ~says_match[hard]
    shares = [right.double().mean().item() for right in answers]
    ends = [of_share(int(right.sum()), len(right)) for right in answers]
    accuracy = sum(shares) / 2
    below, above = (hypot(*(share - end[side] for share, end in zip(shares, ends, strict=True))) / 2 for side in (0, 1))
    interval = accuracy - below, accuracy + above
    return Metric(accuracy, sum(map(len, answers)), chance=0.5, interval=interval)
