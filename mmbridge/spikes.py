"""Spikes: a loss or gradient far above what the last steps had is left out, as OLMo's training does."""

from collections import deque
from collections.abc import Mapping, Sequence
from math import isfinite
from statistics import fmean, pstdev

WINDOW = 128
"""Steps that a new one is measured against; with fewer than half of them nothing is a spike."""


class Spikes:
    """The losses and gradient norms of the last steps, and how far above them is too far.

    All ranks must see the same numbers; then they decide the same. Spikes count among the last steps too: a loss that
    stays high is a new level after a while, and training goes on.
    """

    def __init__(self, deviations: float, state: Mapping[str, Sequence[float]] | None = None) -> None:
        self.deviations = deviations
        self.seen = {name: deque((state or {}).get(name, ()), maxlen=WINDOW) for name in ("loss", "norm")}

    def reason(self, loss: float, norm: float) -> str | None:
        """Say why a step is to be left out, None if it is not; notes its numbers."""
        found = None
        for (name, seen), value in zip(self.seen.items(), (loss, norm), strict=True):
            if not isfinite(value):
                found = found or f"{name} not finite"
                continue
            if len(seen) >= WINDOW // 2 and value > fmean(seen) + self.deviations * pstdev(seen):
                found = found or f"{name} spike"
            seen.append(value)
        return found

    def state(self) -> dict[str, list[float]]:
        """Give what a checkpoint keeps, so that a resumed run decides as one that was never stopped."""
        return {name: list(seen) for name, seen in self.seen.items()}
