"""The protocol: how likely the text bridge finds the captions that people wrote, which is what ITG trains."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from mmbridge_registry import Dataset, Evaluated, Evaluation, Example, Metric, VisionLanguage
from mmbridge_registry.examples import pick
from mmbridge_registry.intervals import bootstrap
from torch import Tensor

from mmbridge_captioning.described import Described, describe


class Asked(NamedTuple):
    """A caption, and the place of the image that it is asked about; `own` is that of its own image."""

    image: int
    own: int
    text: str


class CaptionLikelihood(Evaluation):
    """Perplexity of all captions by the bridge's own decoder, beside that of captions of another image."""

    def evaluate(self, model: VisionLanguage, dataset: Dataset) -> Evaluated:
        """Score every caption twice; chance is the perplexity of captions given the next image instead of their own.

        Raises:
            UserError: an image has no captions, there is only one image, or the bridge has not learned to write.
        """
        described = describe(dataset)
        asked = [*paired(described)]
        images = [described[each.image].image for each in asked]
        likelihoods = model.likelihood(images, [each.text for each in asked]).double()
        own = torch.tensor([each.image == each.own for each in asked])
        places = torch.tensor([each.own for each in asked])
        true, wrong = (
            torch.zeros(len(described), 2, dtype=torch.float64).index_add_(0, places[rows], likelihoods[rows])
            for rows in (own, ~own)
        )
        value, chance = (perplexity(sums.sum(0)).item() for sums in (true, wrong))
        within = bootstrap(true, perplexity)
        metric = Metric(value, len(described), chance, interval=within, less_is_better=True)
        told = described, [each for each in asked if each.image == each.own], likelihoods[own]
        return Evaluated({"perplexity": metric}, protocol(described), [*shown(*told)], [*predicted(*told)])


def paired(described: Sequence[Described]) -> Iterator[Asked]:
    """Give every caption with its own image and with the next, image by image: so each is encoded once."""
    for place in range(len(described)):
        for own in (place, (place or len(described)) - 1):
            yield from (Asked(place, own, text) for text in described[own].texts)


def perplexity(sums: Tensor) -> Tensor:
    """Perplexity per token [...] of log-likelihoods and numbers of tokens [...,2]."""
    return (-sums[..., 0] / sums[..., 1]).exp()


def protocol(described: Sequence[Described]) -> str:
    """Say how the numbers were made."""
    texts = sum(len(each.texts) for each in described)
    return (
        f"{len(described)} images, {texts} captions by people, cleaned as in training; the bridge's own decoder reads "
        "them (ITG, no label smoothing); perplexity per token, the end included; chance: each caption given the next "
        "image"
    )


def predicted(described: Sequence[Described], asked: Sequence[Asked], likelihoods: Tensor) -> Iterator[dict[str, Any]]:
    """A line per caption."""
    each_perplexity = perplexity(likelihoods).tolist()
    for one, (likelihood, tokens), value in zip(asked, likelihoods.tolist(), each_perplexity, strict=True):
        line = {"image_id": described[one.own].name, "caption": one.text}
        yield line | {"log_likelihood": likelihood, "tokens": int(tokens), "perplexity": value}


def shown(described: Sequence[Described], asked: Sequence[Asked], likelihoods: Tensor) -> Iterator[Example]:
    """The likeliest captions, the unlikeliest (often slips of the data), and some others."""
    scores = perplexity(likelihoods)
    for row, picked in pick((-scores).tolist()):
        image, score = described[asked[row].own].image, scores[row].item()
        yield Example(image, asked[row].text, f"perplexity {score:.2f}", score=score, picked=picked)
