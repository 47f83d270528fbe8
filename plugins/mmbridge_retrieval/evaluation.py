"""The protocol: rank by ITC, rank the best k again by ITM, in both directions."""

import torch
from mmbridge_registry import Dataset, EncodedImages, Evaluated, Evaluation, Example, Metric, VisionLanguage
from torch import Tensor

from mmbridge_retrieval import RetrievalOptions
from mmbridge_retrieval.gallery import Gallery
from mmbridge_retrieval.ranking import candidates, chance, found, hardest, ranks

KS = (1, 5, 10)
SHOWN = 12
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
        metrics, to_text = recalls(similarity, similarity, truth, prefix="itc_"), similarity
        if self.options.fusion != "itc":
            by_image, by_text = candidates(similarity, self.options.candidates)
            hard = torch.zeros_like(truth).scatter_(1, hardest(similarity, truth)[:, None], True)
            logits = match_where(images, gallery.texts, by_image | by_text | truth | hard)
            score = logits[..., 1] + (similarity if self.options.fusion == "sum" else 0)
            to_text = score.masked_fill(~by_image, -torch.inf)
            to_image = score.masked_fill(~by_text, -torch.inf)
            metrics |= recalls(to_text, to_image, truth) | {"itm_accuracy": itm_accuracy(logits, truth, hard)}
        return Evaluated(metrics, self.protocol(gallery), examples(gallery, to_text, truth))

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
    logits = torch.zeros(*mask.shape, 2)
    logits[rows, columns] = images.match(rows, [texts[column] for column in columns.tolist()])
    return logits


def recalls(to_text: Tensor, to_image: Tensor, truth: Tensor, prefix: str = "") -> dict[str, Metric]:
    """R@k in both directions, from scores [n,m] of each."""
    directions = {"image_to_text": (to_text, truth), "text_to_image": (to_image.T, truth.T)}
    return {
        f"{prefix}{name}_r{k}": Metric.mean(found(scores, true, k), chance(true, k))
        for name, (scores, true) in directions.items()
        for k in KS
    }


def itm_accuracy(logits: Tensor, truth: Tensor, hard: Tensor) -> Metric:
    """Mean of the accuracies on true pairs and on hard negatives, so that always saying one thing gives 0.5."""
    says_match = logits[..., 1] > logits[..., 0]
    accuracy = (says_match[truth].double().mean() + (~says_match[hard]).double().mean()) / 2
    return Metric(accuracy.item(), int(truth.sum() + hard.sum()), chance=0.5)


def examples(gallery: Gallery, to_text: Tensor, truth: Tensor) -> list[Example]:
    """The first images with the text that was found for each."""
    found, right = to_text.argmax(1).tolist(), (ranks(to_text, truth) == 0).tolist()
    return [
        Example(image, gallery.texts[gallery.owner.index(place)], gallery.texts[found[place]], correct=right[place])
        for place, image in enumerate(gallery.images[:SHOWN])
    ]
