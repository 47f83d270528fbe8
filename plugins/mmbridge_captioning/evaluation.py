"""The protocol: caption every image once, compare with all that people wrote of it."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from mmbridge_registry import Dataset, Evaluated, Evaluation, Example, Generation, Metric, VisionLanguage
from mmbridge_registry.examples import pick
from mmbridge_registry.intervals import bootstrap
from torch import Tensor

from mmbridge_captioning import CaptioningOptions
from mmbridge_captioning.described import Described, describe
from mmbridge_captioning.java import MEASURES, jar_of
from mmbridge_captioning.scores import ORDERS, BleuCounts, Words, bleu, bleu_counts, cider_d, rouge_l
from mmbridge_captioning.tokens import words


class Captioning(Evaluation):
    """BLEU-1 to 4, ROUGE-L and CIDEr-D over all images, CIDEr-D of each domain by itself; METEOR and SPICE in Java.

    Raises:
        UserError: Java or a jar that the options need is not there.
    """

    def __init__(self, options: CaptioningOptions) -> None:
        self.options = options
        self.in_java = {name: partial(MEASURES[name], jar_of(name)) for name in options.java}

    def evaluate(self, model: VisionLanguage, dataset: Dataset) -> Evaluated:
        """Caption and score; chance is what the captions score for the next image instead of their own.

        Raises:
            UserError: an image has no captions, there is only one image, or Java fails.
        """
        described = describe(dataset)
        captions = model.caption([each.image for each in described], self.options.prompt, self.options.generation)
        candidates, references = list(map(words, captions)), [list(map(words, each.texts)) for each in described]
        moved = [*candidates[1:], candidates[0]]
        chance = sum(cider_d(moved, references)) / len(moved)
        each: dict[str, list[float]] = {"cider_d": cider_d(candidates, references)}
        metrics = overlap(candidates, moved, references) | {"cider_d": Metric.mean(each["cider_d"], chance)}
        for name, measure in self.in_java.items():
            metrics[name], each[name] = measure(candidates, moved, references)
        for domain in sorted({one.domain for one in described if one.domain}):
            rows = [row for row, one in enumerate(described) if one.domain == domain]
            metrics |= of_domain(domain.replace("-", "_"), rows, candidates, references, each)
        predictions = [*predicted(described, captions, each)]
        return Evaluated(metrics, self.protocol(described), [*shown(described, captions, each)], predictions)

    def protocol(self, described: Sequence[Described]) -> str:
        """Say how the numbers were made."""
        texts = sum(len(each.texts) for each in described)
        return (
            f"{len(described)} images, {texts} captions by people; prompt '{self.options.prompt}', "
            f"{decoding(self.options.generation)}; captions as written, without the prompt; words as by PTBTokenizer "
            f"3.4.1 (lower case, no punctuation), scores as by pycocoevalcap 1.2; chance: each caption scored for the "
            "next image"
        )


def overlap(
    candidates: Sequence[Words], moved: Sequence[Words], references: Sequence[Sequence[Words]]
) -> dict[str, Metric]:
    """BLEU of the corpus and the mean of ROUGE-L, with their intervals."""
    pairs, others = (list(zip(said, references, strict=True)) for said in (candidates, moved))
    counts = [bleu_counts(*pair) for pair in pairs]
    table = torch.tensor([[*each.right, *each.written, each.length, each.closest] for each in counts])
    chance = bleu([bleu_counts(*pair) for pair in others])
    metrics = {
        f"bleu_{order}": Metric(
            score, len(pairs), guessed, interval=bootstrap(table, lambda sums, n=order: _bleu(sums)[:, n - 1])
        )
        for order, score, guessed in zip(ORDERS, bleu(counts), chance, strict=True)
    }
    guessed = [rouge_l(*pair) for pair in others]
    metrics["rouge_l"] = Metric.mean([rouge_l(*pair) for pair in pairs], sum(guessed) / len(guessed))
    return metrics


def of_domain(
    domain: str,
    rows: Sequence[int],
    candidates: Sequence[Words],
    references: Sequence[Sequence[Words]],
    each: Mapping[str, Sequence[float]],
) -> dict[str, Metric]:
    """CIDEr-D of a domain by itself, its own images being the corpus in which words are rare; SPICE, if there is."""
    scores = cider_d([candidates[row] for row in rows], [references[row] for row in rows])
    metrics = {f"cider_d_{domain}": Metric.mean(scores)}
    if "spice" in each:
        metrics[f"spice_{domain}"] = Metric.mean([each["spice"][row] for row in rows])
    return metrics


def predicted(
    described: Sequence[Described], captions: Sequence[str], each: Mapping[str, Sequence[float]]
) -> Iterator[dict[str, Any]]:
    """A line per image: `image_id` and `caption`, as COCO's result files have them, and what they are worth."""
    for row, (one, caption) in enumerate(zip(described, captions, strict=True)):
        line = {"image_id": one.name, "caption": caption, "references": one.texts}
        line |= {name: scores[row] for name, scores in each.items()}
        yield line | ({"domain": one.domain} if one.domain else {})


def shown(
    described: Sequence[Described], captions: Sequence[str], each: Mapping[str, Sequence[float]]
) -> Iterator[Example]:
    """The captions with the highest CIDEr-D, those with the lowest, and some others."""
    scores = each["cider_d"]
    for row, picked in pick(scores):
        one = described[row]
        yield Example(one.image, one.texts[0], captions[row], score=scores[row], picked=picked)


def decoding(generation: Generation) -> str:
    """Name the decoding."""
    length = f"{generation.min_new_tokens} to {generation.max_new_tokens} new tokens"
    if generation.repetition_penalty != 1:
        length += f", repetition penalty {generation.repetition_penalty:g}"
    if generation.sample:
        return f"sampling at temperature {generation.temperature:g} and top-p {generation.top_p:g}, {length}"
    if generation.beams == 1:
        return f"greedy, {length}"
    return f"{generation.beams} beams, length penalty {generation.length_penalty:g}, {length}"


def _bleu(sums: Tensor) -> Tensor:
    """BLEU-1 to 4 [draws,4] of sums of counts [draws,10]."""
    rows = (BleuCounts(tuple(row[:4]), tuple(row[4:8]), row[8], row[9]) for row in sums.tolist())
    return torch.tensor([bleu([row]) for row in rows], dtype=torch.float64)
