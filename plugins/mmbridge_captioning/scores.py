"""BLEU, ROUGE-L and CIDEr-D, each to the letter of the evaluation code that published numbers come from.

Candidates and references are words (`tokens.words`): one candidate and at least one reference per image.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

Words = Sequence[str]
NGrams = Counter[tuple[str, ...]]

ORDERS = range(1, 5)
BETA = 1.2
"""ROUGE-L's weight of recall against precision."""
SIGMA = 6.0
"""CIDEr-D's tolerance of another length, in words."""


def ngrams(words: Words, order: int) -> NGrams:
    """Count the n-grams of one order."""
    return Counter(zip(*(words[start:] for start in range(order)), strict=False))


class BleuCounts(NamedTuple):
    """What BLEU needs to know of a caption, or of many: counts are added, not scores."""

    right: tuple[int, ...]
    """N-grams found in the references, by order, clipped at how often one reference has them."""
    written: tuple[int, ...]
    length: int
    closest: int
    """Length of the reference that is nearest to it; of two, the shorter."""


def bleu_counts(candidate: Words, references: Sequence[Words]) -> BleuCounts:
    """Count what one caption has in common with its references (Papineni et al., 2002)."""
    right, written = [], []
    for order in ORDERS:
        found = ngrams(candidate, order)
        most: NGrams = Counter()
        for reference in references:
            most |= ngrams(reference, order)
        right.append((found & most).total())
        written.append(max(0, len(candidate) - order + 1))
    closest = min((abs(len(reference) - len(candidate)), len(reference)) for reference in references)[1]
    return BleuCounts(tuple(right), tuple(written), len(candidate), closest)


def bleu(counts: Sequence[BleuCounts]) -> tuple[float, ...]:
    """Give BLEU-1 to BLEU-4 of a corpus, with the tiny constants that keep the original from dividing by zero."""
    right = [sum(column) for column in zip(*(count.right for count in counts), strict=True)]
    written = [sum(column) for column in zip(*(count.written for count in counts), strict=True)]
    ratio = (sum(count.length for count in counts) + 1e-15) / (sum(count.closest for count in counts) + 1e-9)
    penalty = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    scores, product = [], 1.0
    for order, (found, all_) in zip(ORDERS, zip(right, written, strict=True), strict=True):
        product *= (found + 1e-15) / (all_ + 1e-9)
        scores.append(product ** (1 / order) * penalty)
    return tuple(scores)


def rouge_l(candidate: Words, references: Sequence[Words]) -> float:
    """F-measure of the longest common subsequence; best precision and best recall over references (Lin, 2004)."""
    # No words are one empty word to the original, which has recall 0 of everything else all the same.
    common = [_longest_common(candidate, reference) for reference in references]
    precision = max(common) / max(1, len(candidate))
    recall = max(length / max(1, len(reference)) for length, reference in zip(common, references, strict=True))
    if not precision or not recall:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def cider_d(candidates: Sequence[Words], references: Sequence[Sequence[Words]]) -> list[float]:
    """Give CIDEr-D of every caption (Vedantam et al., 2015): rare n-grams of the corpus of references count more."""
    frequency: NGrams = Counter()
    for of_image in references:
        frequency.update({gram for reference in of_image for gram in _all_ngrams(reference)})
    images = math.log(len(references))
    scores = []
    for candidate, of_image in zip(candidates, references, strict=True):
        own = _Weighted(candidate, frequency, images)
        similar = [own.similarity(_Weighted(reference, frequency, images)) for reference in of_image]
        scores.append(10 * sum(similar) / len(similar))
    return scores


class _Weighted:
    """The n-grams of a caption by order, weighted by how rare they are."""

    def __init__(self, words: Words, frequency: NGrams, images: float) -> None:
        self.vectors = [
            {gram: count * (images - math.log(max(1, frequency[gram]))) for gram, count in ngrams(words, order).items()}
            for order in ORDERS
        ]
        self.norms = [math.sqrt(sum(weight**2 for weight in vector.values())) for vector in self.vectors]
        self.length = max(0, len(words) - 1)  # the original counts a caption's length in pairs of words

    def similarity(self, reference: "_Weighted") -> float:
        """Mean over orders of the clipped cosine, less where the lengths differ."""
        total = 0.0
        for own, theirs, norm in zip(self.vectors, reference.vectors, self._products(reference), strict=True):
            product = sum(min(weight, theirs[gram]) * theirs[gram] for gram, weight in own.items() if gram in theirs)
            total += product / norm if norm else product
        return total / len(ORDERS) * math.exp(-((self.length - reference.length) ** 2) / (2 * SIGMA**2))

    def _products(self, reference: "_Weighted") -> list[float]:
        return [own * theirs for own, theirs in zip(self.norms, reference.norms, strict=True)]


def _all_ngrams(words: Words) -> Iterator[tuple[str, ...]]:
    for order in ORDERS:
        yield from ngrams(words, order)


def _longest_common(left: Words, right: Words) -> int:
    row = [0] * (len(right) + 1)
    for word in left:
        before = 0
        for place, other in enumerate(right, start=1):
            before, row[place] = row[place], before + 1 if word == other else max(row[place], row[place - 1])
    return row[-1]
