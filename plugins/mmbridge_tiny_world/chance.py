"""What guessing gives, computed on the very records that are scored."""

from collections import Counter
from collections.abc import Sequence

from .grammar import attributes_right, truth
from .world import Scene


def guessed_caption(scenes: Sequence[Scene]) -> dict[str, float]:
    """The expected score of the true caption of another scene of the set, drawn by lot: all pairs, no sampling."""
    readings = [truth(scene) for scene in scenes]
    pairs = [(said, wanted) for i, said in enumerate(readings) for j, wanted in enumerate(readings) if i != j]
    attributes = sum(attributes_right(said, wanted) for said, wanted in pairs)
    return {"attributes": attributes / len(pairs), "exact": sum(a == b for a, b in pairs) / len(pairs)}


def blind_answer(kinds: Sequence[str], answers: Sequence[str]) -> float:
    """The accuracy of one who does not look: the most frequent answer of each kind of question."""
    frequencies = {kind: Counter() for kind in kinds}
    for kind, answer in zip(kinds, answers, strict=True):
        frequencies[kind][answer] += 1
    return sum(counter.most_common(1)[0][1] for counter in frequencies.values()) / len(answers)
