"""Intervals hold the truth as often as they say, and are those of theory where there is one."""

import pytest
import torch
from mmbridge_registry.evaluation import Metric
from mmbridge_registry.intervals import bootstrap, of_mean


def test_they_hold_the_truth_nineteen_times_of_twenty():
    torch.manual_seed(0)
    held = [low <= 0.3 <= high for low, high in (of_mean((torch.rand(200) < 0.3).double()) for _ in range(200))]
    assert 0.9 < sum(held) / len(held) < 0.99


def test_they_are_as_wide_as_theory_says():
    torch.manual_seed(0)
    values = torch.randn(2000, dtype=torch.float64)
    low, high = of_mean(values)
    assert (high - low) / 2 == pytest.approx(1.96 * values.std().item() / 2000**0.5, rel=0.08)
    assert (high + low) / 2 == pytest.approx(values.mean().item(), abs=0.005)


def test_a_statistic_of_several_sums():
    rows = torch.tensor([[1.0, 2.0], [3.0, 4.0], [2.0, 9.0]] * 50)
    low, high = bootstrap(rows, lambda sums: sums[:, 0] / sums[:, 1])
    assert low < 6 / 15 < high


def test_a_perfect_share_is_not_beyond_doubt():
    metric = Metric.mean([True] * 256, chance=0.5)
    assert (metric.value, metric.n, metric.chance) == (1.0, 256, 0.5)
    assert metric.interval == pytest.approx((256 / (256 + 1.959964**2), 1.0))


def test_shares_are_wilsons():
    # Wilson (1927) by the textbook formula, for 30 of 100.
    assert of_mean(torch.tensor([1.0] * 30 + [0.0] * 70)) == pytest.approx((0.21895, 0.39584), abs=1e-5)


@pytest.mark.parametrize("count", range(21))
def test_an_interval_holds_its_share_and_stays_between_0_and_1(count):
    low, high = of_mean(torch.tensor([1.0] * count + [0.0] * (20 - count)))
    assert 0 <= low <= count / 20 <= high <= 1
    assert low < high


def test_one_measurement_has_one_interval():
    assert of_mean(torch.arange(10)) == of_mean(torch.arange(10))
