"""The protocol: caption every image once, compare with all that people wrote of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from mmbridge_registry import Dataset, Evaluated, Evaluation, Example, Generation, Metric, UserError, VisionLanguage
from mmbridge_registry.intervals import bootstrap
from PIL.Image import Image
from torch import Tensor

from mmbridge_captioning import CaptioningOptions
from mmbridge_captioning.scores import ORDERS, BleuCounts, Words, bleu, bleu_counts, cider_d, rouge_l
from mmbridge_captioning.tokens import words

SHOWN = 4
"""Examples of each sort: the best, the worst, and some between."""


@dataclass
class Described:
    """An image with all its captions."""

    image: bytes | Path | Image
    texts: list[str]
    domain: str | None
    """NoCaps: `in-domain`, `near-domain` or `out-domain`."""


class Captioning(Evaluation):
    """BLEU-1 to 4, ROUGE-L and CIDEr-D over all images, and CIDEr-D of each domain by itself."""

    def __init__(self, options: CaptioningOptions) -> None:
        self.options = options

    def evaluate(self, model: VisionLanguage, dataset: Dataset) -> Evaluated:
        """Caption and score; chance is what the captions score for the next image instead of their own.

        Raises:
            UserError: an image has no captions, or there is only one image.
        """
        described = describe(dataset)
        images = [each.image for each in described]
        captions = model.caption(images, self.options.prompt, generation=self.options.generation)
        candidates = list(map(words, captions))
        references = [list(map(words, each.texts)) for each in described]
        cider, moved = (
            torch.tensor(cider_d(said, references), dtype=torch.float64) for said in (candidates, _moved(candidates))
        )
        metrics = overlap(candidates, references) | {"cider_d": Metric.mean(cider, moved.mean().item())}
        for domain in sorted({each.domain for each in described if each.domain}):
            rows = [row for row, each in enumerate(described) if each.domain == domain]
            scores = cider_d([candidates[row] for row in rows], [references[row] for row in rows])
            metrics[f"cider_d_{domain.replace('-', '_')}"] = Metric.mean(scores)
        return Evaluated(metrics, self.protocol(described), examples(described, captions, cider))

    def protocol(self, described: Sequence[Described]) -> str:
        """Say how the numbers were made."""
        texts = sum(len(each.texts) for each in described)
        return (
            f"{len(described)} images, {texts} captions by people; prompt '{self.options.prompt}', "
            f"{decoding(self.options.generation)}; words as by PTBTokenizer 3.4.1, scores as by pycocoevalcap 1.2; "
            "chance: each caption scored for the next image"
        )


def describe(dataset: Dataset) -> list[Described]:
    """Read a dataset; records with one image id are one image with the captions of all of them.

    Raises:
        UserError: an image has no captions, or there is only one image.
    """
    described: dict[object, Described] = {}
    for record in dataset:
        if not record.texts:
            raise UserError(f"record '{record.name}' has no caption to compare with.", do="Evaluate on captions.")
        key = ("record", len(described)) if record.image_id is None else ("image", record.image_id)
        described.setdefault(key, Described(record.image, [], record.facts.get("domain"))).texts.extend(record.texts)
    if len(described) < 2:
        raise UserError("captioning needs at least two images: CIDEr-D weighs words by how rare they are.")
    return list(described.values())


def overlap(candidates: Sequence[Words], references: Sequence[Sequence[Words]]) -> dict[str, Metric]:
    """BLEU of the corpus and the mean of ROUGE-L, with their intervals."""
    pairs = list(zip(candidates, references, strict=True))
    counts = [bleu_counts(*pair) for pair in pairs]
    table = torch.tensor([[*each.right, *each.written, each.length, each.closest] for each in counts])
    chance = bleu([bleu_counts(*pair) for pair in zip(_moved(candidates), references, strict=True)])
    metrics = {
        f"bleu_{order}": Metric(
            score, len(pairs), guessed, interval=bootstrap(table, lambda sums, n=order: _bleu(sums)[:, n - 1])
        )
        for order, score, guessed in zip(ORDERS, bleu(counts), chance, strict=True)
    }
    guessed = [rouge_l(*pair) for pair in zip(_moved(candidates), references, strict=True)]
    metrics["rouge_l"] = Metric.mean([rouge_l(*pair) for pair in pairs], sum(guessed) / len(guessed))
    return metrics


def examples(described: Sequence[Described], captions: Sequence[str], scores: Tensor) -> list[Example]:
    """The captions with the highest scores, those with the lowest, and some between."""
    order: list[int] = scores.argsort(descending=True, stable=True).tolist()
    middle = len(order) // 2
    rows = dict.fromkeys([*order[:SHOWN], *order[middle : middle + SHOWN], *order[-SHOWN:]])
    return [Example(described[row].image, described[row].texts[0], captions[row]) for row in rows]


def decoding(generation: Generation) -> str:
    """Name the decoding."""
    if generation.sample:
        return f"sampling at temperature {generation.temperature}"
    search = "greedy" if generation.beams == 1 else f"{generation.beams} beams"
    return f"{search}, {generation.min_new_tokens} to {generation.max_new_tokens} new tokens"


def _moved(candidates: Sequence[Words]) -> list[Words]:
    return [*candidates[1:], candidates[0]]


def _bleu(sums: Tensor) -> Tensor:
    """BLEU-1 to 4 [draws,4] of sums of counts [draws,10]."""
    rows = (BleuCounts(tuple(row[:4]), tuple(row[4:8]), row[8], row[9]) for row in sums.tolist())
    return torch.tensor([bleu([row]) for row in rows], dtype=torch.float64)
