"""The order: which record stands at which position of a run, as a pure function of (seed, position).

There is no epoch state, no shuffle buffer and no generator that advances: any position is found in O(1), so a run
resumes by remembering one number, and ranks and workers only decide who reads what.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from hashlib import blake2b
from math import isqrt

import numpy as np
from mmbridge_registry import Dataset, UserError

WINDOW = 1000
"""Positions within which the mixture is exact."""
GROUP = 16
"""Blocks of a data set whose records are shuffled together, and so are read at the same time."""
ROUNDS = 4
"""Double rounds of the permutation; three are the least that hides its input (Luby and Rackoff, 1988)."""


def draw(*key: int | str) -> int:
    """Give 63 random bits that depend on the key alone: a counter-based generator (BLAKE2b, RFC 7693)."""
    return int.from_bytes(blake2b(repr(key).encode(), digest_size=8).digest(), "big") >> 1


def permute(index: int, size: int, *key: int | str) -> int:
    """Give the place of `index` in the permutation of range(size) that the key names, without writing it down.

    A Feistel network over a grid just large enough to hold `size` cells; a cell beyond the end walks on until it is
    inside (Black and Rogaway, 2002).
    """
    rows = isqrt(size - 1) + 1
    columns = -(-size // rows)
    while True:
        row, column = divmod(index, columns)
        for number in range(ROUNDS):
            row = (row + draw(*key, number, "row", column)) % rows
            column = (column + draw(*key, number, "column", row)) % columns
        index = row * columns + column
        if index < size:
            return index


def shares(weights: Mapping[str, float]) -> dict[str, int]:
    """Divide a window among data sets by their weights, exactly: largest remainders, ties to the first name.

    Raises:
        UserError: a weight is not a positive number, or so small that its data set would never be read.
    """
    for name, weight in weights.items():
        if not 0 < weight < float("inf"):
            raise UserError(f"the weight of '{name}' is {weight}.", where="data", do="Give a number above 0.")
    total = sum(map(Fraction, weights.values()))
    quotas = {name: Fraction(weights[name]) / total * WINDOW for name in sorted(weights)}
    counts = {name: int(quota) for name, quota in quotas.items()}
    by_remainder = sorted(quotas, key=lambda name: counts[name] - quotas[name])
    for name in by_remainder[: WINDOW - sum(counts.values())]:
        counts[name] += 1
    for name, count in counts.items():
        if count == 0:
            what = f"'{name}' is less than 1/{WINDOW} of the mixture and would never be read."
            raise UserError(what, where="data", do="Raise its weight.")
    return counts


@lru_cache(maxsize=16)
def arrange(window: int, seed: int, *shares: tuple[str, int]) -> list[tuple[str, int]]:
    """Arrange a window: for each of its positions the data set, and how often that came before in the window."""
    # Raw output of Philox (Salmon et al., 2011), which numpy keeps the same for ever; its `permutation` may change.
    by_chance = np.argsort(np.random.Philox(key=draw(seed, "window", window)).random_raw(WINDOW))
    names = [name for name, count in shares for _ in range(count)]
    before = Counter[str]()
    arranged = []
    for slot in by_chance:
        name = names[slot]
        arranged.append((name, before[name]))
        before[name] += 1
    return arranged


class BlockOrder:
    """The order of records that lie on disk in blocks: the blocks are permuted, then the records of every 16 of them.

    So a run reads from 16 blocks at a time, each epoch from others together; any position of any epoch is found by
    binary search. `lengths` are those of the blocks, `key` names the permutations.
    """

    def __init__(self, lengths: Sequence[int], *key: int | str) -> None:
        self.lengths = np.asarray(lengths, dtype=np.int64)
        self.firsts = np.cumsum(self.lengths) - self.lengths
        self.key = key

    def index(self, epoch: int, rank: int) -> int:
        """Give the index of the record that comes `rank`-th (from 0) in an epoch."""
        blocks, ends = permute_blocks(self, epoch)
        group = int(np.searchsorted(ends, rank, side="right")) // GROUP
        first = int(ends[group * GROUP - 1]) if group else 0
        last = int(ends[min((group + 1) * GROUP, len(ends)) - 1])
        rank = first + permute(rank - first, last - first, *self.key, epoch, "group", group)
        number = int(np.searchsorted(ends, rank, side="right"))
        block = blocks[number]
        return int(self.firsts[block] + self.lengths[block] - ends[number] + rank)


@lru_cache(maxsize=16)
def permute_blocks(order: BlockOrder, epoch: int) -> tuple[np.ndarray, np.ndarray]:
    """Permute the blocks for an epoch: their numbers, and how many records there are up to the end of each."""
    chance = np.random.Philox(key=draw(*order.key, epoch, "blocks")).random_raw(len(order.lengths))
    blocks = np.argsort(chance, kind="stable")
    return blocks, np.cumsum(order.lengths[blocks])


@dataclass(frozen=True)
class Place:
    """What stands at one position of a run."""

    position: int
    name: str
    """The data set's name in the mixture."""
    index: int
    """The record's index in that data set."""
    seed: int
    """Seed of every draw that is made for this sample."""
    epoch: int = 0
    """How often its data set has been read whole before."""


class Mixture:
    """Several data sets in one endless order; each is read whole, in a new order per epoch, before it repeats.

    In every window of 1000 positions each data set has exactly its share. Data sets are told apart by name, so the
    order in which a YAML lists them changes nothing. A data set with `blocks` is read from a few of them at a time.

    Raises:
        UserError: there is no data set, a weight fits none, one is empty, or its blocks do not add up to its length.
    """

    def __init__(self, datasets: Mapping[str, Dataset], weights: Mapping[str, float], seed: int) -> None:
        if not weights:
            raise UserError("there is no data set to read.", where="data", do="Name at least one.")
        for name in weights:
            if name not in datasets:
                known = ", ".join(sorted(datasets)) or "none"
                raise UserError(f"there is a weight for '{name}', but no such data set (known: {known}).", where="data")
            if len(datasets[name]) == 0:
                raise UserError(f"the data set '{name}' has no records.", where="data")
        self.seed = seed
        self.shares = shares(weights)
        self.datasets = {name: datasets[name] for name in self.shares}
        self.blocks = {
            name: BlockOrder(lengths, seed, "epoch", name)
            for name, dataset in self.datasets.items()
            if (lengths := _blocks(name, dataset)) is not None
        }

    def place(self, position: int) -> Place:
        """Find what stands at a position (from 0)."""
        window, offset = divmod(position, WINDOW)
        name, rank = arrange(window, self.seed, *self.shares.items())[offset]
        epoch, index = divmod(window * self.shares[name] + rank, len(self.datasets[name]))
        if name in self.blocks:
            index = self.blocks[name].index(epoch, index)
        else:
            index = permute(index, len(self.datasets[name]), self.seed, "epoch", name, epoch)
        return Place(position, name, index, draw(self.seed, "sample", position), epoch)

    def substitute(self, place: Place, attempt: int) -> int:
        """Give the index of the record that stands in for an unreadable one: same data set, a function of the seed."""
        return draw(place.seed, "substitute", attempt) % len(self.datasets[place.name])


def _blocks(name: str, dataset: Dataset) -> Sequence[int] | None:
    lengths = dataset.blocks
    if lengths is not None and sum(lengths) != len(dataset):
        what = f"the blocks of the data set '{name}' hold {sum(lengths)} records, but it has {len(dataset)}."
        raise UserError(what, where="data", do="Mend the plugin that reads it.")
    return lengths
