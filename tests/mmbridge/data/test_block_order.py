"""The order of data sets that lie on disk in blocks: whole epochs, few blocks at a time, any position at once."""

import pickle
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmbridge_registry import Dataset, Record, UserError

from mmbridge.data.loader import StepBatches, load
from mmbridge.data.order import GROUP, BlockOrder, Mixture

FROZEN = [12_142_955, 23_259_102, 28_192_796]
LENGTHS = st.lists(st.integers(0, 9), min_size=1, max_size=60).filter(sum)


@dataclass(frozen=True)
class Shards(Dataset):
    """As long as its blocks, or as it says; the order never reads."""

    lengths: Sequence[int]
    size: int | None = None

    def __len__(self) -> int:
        return sum(self.lengths) if self.size is None else self.size

    @property
    def blocks(self) -> Sequence[int]:
        return self.lengths

    def read(self, index: int) -> Record:
        raise AssertionError("the order reads no records")


def epoch(lengths: Sequence[int], number: int, key: int = 0) -> list[int]:
    order = BlockOrder(lengths, key)
    return [order.index(number, rank) for rank in range(sum(lengths))]


@given(LENGTHS, st.integers(0, 2**62), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_an_epoch_is_a_permutation(lengths: list[int], key: int, number: int) -> None:
    assert sorted(epoch(lengths, number, key)) == list(range(sum(lengths)))


@given(LENGTHS, st.integers(0, 2**62))
@settings(max_examples=40, deadline=None)
def test_sixteen_blocks_are_read_at_a_time_and_each_once(lengths: list[int], key: int) -> None:
    """In the order of an epoch, the blocks come in groups: none comes back when its group is over."""
    block = [number for number, length in enumerate(lengths) for _ in range(length)]
    seen = [block[index] for index in epoch(lengths, 0, key)]
    first = {number: seen.index(number) for number in set(seen)}
    last = {number: len(seen) - 1 - seen[::-1].index(number) for number in set(seen)}
    open_at_once = [sum(first[n] <= at <= last[n] for n in first) for at in range(len(seen))]
    assert max(open_at_once) <= GROUP


def test_records_of_a_group_are_shuffled_and_epochs_differ() -> None:
    lengths = [100] * 40
    one, other = epoch(lengths, 0), epoch(lengths, 1)
    assert sum(map(int.__eq__, one, other)) < 15
    assert sum(second - first == 1 for first, second in pairwise(one)) < 15
    assert {index // 100 for index in one[:1600]} != {index // 100 for index in other[:1600]}
    counts = Counter(index // 100 for index in one[:400])
    assert len(counts) == GROUP
    assert max(counts.values()) < 60


def test_every_block_comes_first_equally_often() -> None:
    first = Counter(BlockOrder([3] * 40, key).index(0, 0) // 3 for key in range(2000))
    assert len(first) == 40
    assert all(abs(count - 50) < 5 * 50**0.5 for count in first.values())


def test_any_position_of_100_million_is_found_at_once() -> None:
    lengths = [9_000 + 2_000 * (number % 2) for number in range(10_000)]
    mixture = Mixture({"web": Shards(lengths)}, {"web": 1}, seed=7)
    assert len(mixture.datasets["web"]) == 10**8
    start = time.perf_counter()
    index = mixture.place(10**7).index
    took = time.perf_counter() - start
    assert 0 <= index < 10**8
    assert took < 0.25  # some milliseconds; a list of them would take seconds
    ends = list(accumulate(lengths))
    near = [mixture.place(position).index for position in range(10**7, 10**7 + 500)]
    assert len(set(near)) == 500
    assert len({next(n for n, end in enumerate(ends) if index < end) for index in near}) <= 2 * GROUP


def test_order_is_the_one_that_runs_were_started_with() -> None:
    """Frozen: a change here makes every run that is resumed see other data."""
    mixture = Mixture({"web": Shards([10_000] * 5_000)}, {"web": 1}, seed=7)
    assert [mixture.place(position).index for position in (0, 999, 123_456_789)] == FROZEN


def test_blocks_change_no_other_data_set() -> None:
    @dataclass(frozen=True)
    class Even(Shards):
        @property
        def blocks(self) -> None:
            return None

    def places(beside: Dataset) -> list[tuple[str, int, int]]:
        mixture = Mixture({"a": Even([300]), "b": beside}, {"a": 0.5, "b": 0.5}, seed=3)
        return [(p.name, p.index if p.name == "a" else -1, p.seed) for p in map(mixture.place, range(900))]

    assert places(Even([400])) == places(Shards([10] * 40))


def test_the_same_batches_on_any_ranks_and_workers(album, preparation) -> None:
    @dataclass(frozen=True)
    class Blocks(album):
        @property
        def blocks(self) -> Sequence[int]:
            return [5, 0, 6, 1, 7, 4]

    mixture = Mixture({"a": Blocks(23), "b": album(9, shade=1)}, {"a": 0.7, "b": 0.3}, seed=5)

    def read(ranks: int, workers: int, first: int = 0) -> list[list[tuple[int, ...]]]:
        steps: list[list[tuple[int, ...]]] = [[] for _ in range(first, 4)]
        for rank in range(ranks):
            batches = StepBatches(mixture=mixture, batch_size=8, rank=rank, world_size=ranks, **preparation)
            for step, (batch, _) in enumerate(load(batches, first, 4, workers)):
                columns = batch.prepared["drawn"], batch.image_ids, batch.positions
                steps[step] += zip(*(column.tolist() for column in columns), strict=True)
        return steps

    expected = read(1, 0)
    assert read(2, 0) == read(4, 0) == read(1, 3) == read(2, 1) == expected
    assert read(4, 1, first=2) == expected[2:]


def test_a_mixture_with_blocks_travels_to_workers() -> None:
    mixture = Mixture({"a": Shards([4, 5, 6])}, {"a": 1}, seed=1)
    copy = pickle.loads(pickle.dumps(mixture))
    assert list(map(copy.place, range(50))) == list(map(mixture.place, range(50)))


def test_blocks_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(UserError, match="blocks of the data set 'a' hold 9 records, but it has 10"):
        Mixture({"a": Shards([4, 5], size=10)}, {"a": 1}, seed=1)
