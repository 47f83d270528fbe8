"""Collectives on three processes against the same sums written down on one."""

import pytest
import torch
from toys.exchanges import ASKED, ROUNDS, ROWS, everyones_indices, everyones_rows, exchange_everything, weights
from toys.ranks import on_ranks

from mmbridge.collectives import Collectives

torch.set_num_threads(1)
WORLD = 3


@pytest.fixture(scope="module", params=[1, pytest.param(WORLD, marks=pytest.mark.slow)], ids=["alone", "three ranks"])
def results(request):
    """What each rank got."""
    alone = request.param == 1
    return [exchange_everything(Collectives())] if alone else on_ranks(request.param, exchange_everything)


def test_gather_gives_all_rows_and_sums_what_comes_back(results):
    world = len(results)
    rows = everyones_rows(world)
    expected = weights(world, world * ROWS).sum(0)
    for rank, result in enumerate(results):
        assert torch.equal(result["gathered"], rows)
        torch.testing.assert_close(result["gather gradient"], expected[rank * ROWS : (rank + 1) * ROWS])


def test_constant_gather_has_no_gradient(results):
    for result in results:
        assert torch.equal(result["constant"], everyones_rows(len(results)))
        assert not result["constant"].requires_grad
        assert result["flags"].tolist() == [True, True, *[False, True] * (len(results) - 1)]


def test_reductions(results):
    world = len(results)
    for result in results:
        assert result["sum"] == world * (world + 1) / 2
        assert result["maximum"] == 5
        assert result["tally"] == [world * (world - 1) // 2, world, world * 2**40]
        assert result["texts"] == ["ä" * 3 * rank for rank in range(world)]


@pytest.mark.parametrize("number", range(ROUNDS))
def test_exchange_is_indexing_into_all_rows(results, number):
    world = len(results)
    rows, index = everyones_rows(world).requires_grad_(), everyones_indices(world)[number]
    expected = rows[index]
    (expected * weights(world, ASKED)).sum().backward()
    for rank, result in enumerate(results):
        fetched, gradient = result["fetched"][number]
        assert torch.equal(fetched, expected[rank])
        torch.testing.assert_close(gradient, rows.grad[rank * ROWS : (rank + 1) * ROWS])


def test_alone_nothing_is_copied():
    rows = torch.ones(2, 3, requires_grad=True)
    assert Collectives().gather(rows) is rows
    assert Collectives().gather_constant(rows).data_ptr() == rows.data_ptr()
