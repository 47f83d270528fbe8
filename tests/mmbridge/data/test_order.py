from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmbridge_registry import Dataset, Record, UserError

from mmbridge.data.order import WINDOW, Mixture, permute, shares

FROZEN = [
    ("web", 68_603_179, 2_667_239_978_288_197_074),
    ("web", 83_955_929, 3_580_446_492_557_622_971),
    ("web", 35_635_081, 1_378_393_045_870_945_679),
]


@dataclass(frozen=True)
class Sized(Dataset):
    """Only as long as it says; the order never reads."""

    size: int

    def __len__(self) -> int:
        return self.size

    def read(self, index: int) -> Record:
        raise AssertionError("the order reads no records")


def mixture(sizes: dict[str, int], weights: dict[str, float], seed: int = 0) -> Mixture:
    return Mixture({name: Sized(size) for name, size in sizes.items()}, weights, seed)


@given(st.integers(1, 500), st.integers(0, 2**63), st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_permutation_is_a_bijection(size: int, seed: int, epoch: int) -> None:
    places = [permute(index, size, seed, "epoch", epoch) for index in range(size)]
    assert sorted(places) == list(range(size))


@given(st.integers(10**8, 10**12), st.integers(0, 2**63))
@settings(max_examples=10, deadline=None)
def test_permutation_of_a_large_set_is_inside_and_injective(size: int, seed: int) -> None:
    places = {permute(index, size, seed) for index in range(size - 500, size)}
    assert len(places) == 500
    assert all(0 <= place < size for place in places)


def test_permutations_are_uniform() -> None:
    """Every place of 7 is taken by index 2 equally often over keys, and orders of 7 are as many as they must be."""
    seen = Counter(permute(2, 7, key) for key in range(3500))
    assert all(abs(seen[place] - 500) < 5 * 500**0.5 for place in range(7))
    orders = {tuple(permute(index, 7, key) for index in range(7)) for key in range(1500)}
    assert len(orders) > 0.9 * 5040 * (1 - (1 - 1 / 5040) ** 1500)


def test_neighbours_are_torn_apart() -> None:
    """A shuffled list has about one pair of neighbours that stay neighbours; a weak one has many."""
    places = [permute(index, 1000, "key") for index in range(1000)]
    assert sum(second - first == 1 for first, second in pairwise(places)) < 8


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=20))
def test_shares_are_exact(weights: list[float]) -> None:
    named = {f"set{number}": weight for number, weight in enumerate(weights)}
    counts = shares(named)
    assert sum(counts.values()) == WINDOW
    assert all(abs(counts[name] - weight / sum(weights) * WINDOW) < 1 for name, weight in named.items())


def test_equal_weights_share_the_rest() -> None:
    assert sorted(shares({"a": 1, "b": 1, "c": 1}).values()) == [333, 333, 334]
    assert shares({"a": 0.7, "b": 0.3}) == {"a": 700, "b": 300}


@given(st.integers(0, 10**6), st.integers(0, 2**62))
@settings(max_examples=6, deadline=None)
def test_every_window_has_the_exact_mixture(window: int, seed: int) -> None:
    order = mixture({"a": 11, "b": 10**8}, {"a": 0.8, "b": 0.2}, seed)
    names = [order.place(position).name for position in range(window * WINDOW, (window + 1) * WINDOW)]
    assert Counter(names) == {"a": 800, "b": 200}
    assert "b" in names[:100]


def test_each_epoch_reads_every_record_once_and_in_another_order() -> None:
    order = mixture({"a": 250, "b": 100}, {"a": 0.75, "b": 0.25})
    windows = [[order.place(position) for position in range(first, first + WINDOW)] for first in (0, 1000, 7000)]
    for places in windows:
        assert Counter(place.index for place in places if place.name == "a") == dict.fromkeys(range(250), 3)
    odd = [order.place(position) for position in range(2 * WINDOW)]
    assert Counter(place.index for place in odd if place.name == "b") == dict.fromkeys(range(100), 5)
    one = mixture({"a": 1000}, {"a": 1})
    first, second = ([one.place(position + start).index for position in range(WINDOW)] for start in (0, WINDOW))
    assert sorted(first) == sorted(second) == list(range(1000))
    assert sum(map(int.__eq__, first, second)) < 10


def test_an_epoch_ends_before_the_next_begins() -> None:
    order = mixture({"a": 90, "b": 40}, {"a": 0.7, "b": 0.3})
    read = {name: [] for name in "ab"}
    for place in map(order.place, range(1500)):
        read[place.name].append(place.index)
    for name, size in (("a", 90), ("b", 40)):
        epochs = [read[name][first : first + size] for first in range(0, len(read[name]) - size, size)]
        assert all(sorted(epoch) == list(range(size)) for epoch in epochs)
        assert len(set(map(tuple, epochs))) == len(epochs) > 8


def test_order_depends_on_the_seed_and_on_names_not_on_the_yaml() -> None:
    one = mixture({"a": 50, "b": 70}, {"a": 1, "b": 2}, seed=3)
    other_way = mixture({"b": 70, "a": 50}, {"b": 2, "a": 1}, seed=3)
    other_seed = mixture({"a": 50, "b": 70}, {"a": 1, "b": 2}, seed=4)
    assert [one.place(n) for n in range(300)] == [other_way.place(n) for n in range(300)]
    assert [one.place(n).index for n in range(300)] != [other_seed.place(n).index for n in range(300)]


def test_order_is_the_one_that_runs_were_started_with() -> None:
    """Frozen: a change here makes every run that is resumed see other data."""
    order = mixture({"web": 129_000_000, "coco": 113_287}, {"web": 0.9, "coco": 0.1}, seed=7)
    places = [order.place(position) for position in (0, 999, 123_456_789)]
    assert [(place.name, place.index, place.seed) for place in places] == FROZEN


def test_seeds_of_samples_differ() -> None:
    order = mixture({"a": 5}, {"a": 1})
    seeds = {order.place(position).seed for position in range(5000)}
    assert len(seeds) == 5000
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_substitutes_stay_in_the_data_set() -> None:
    order = mixture({"a": 17}, {"a": 1})
    indices = [order.substitute(order.place(3), attempt) for attempt in range(1, 200)]
    assert set(indices) == set(range(17))


@pytest.mark.parametrize(
    ("sizes", "weights", "message"),
    [
        ({"a": 5}, {}, "no data set"),
        ({"a": 5}, {"b": 1.0}, "'b'.*known: a"),
        ({"a": 0}, {"a": 1.0}, "'a' has no records"),
        ({"a": 5}, {"a": 0.0}, "weight of 'a'"),
        ({"a": 5}, {"a": float("nan")}, "weight of 'a'"),
        ({"a": 5, "b": 5}, {"a": 1.0, "b": 1e-6}, "'b'.*never be read"),
    ],
)
def test_a_mixture_that_cannot_be_read_is_refused(sizes: dict, weights: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        mixture(sizes, weights)
