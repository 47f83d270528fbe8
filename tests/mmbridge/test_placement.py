"""Placement: towers cut up over two ranks compute what whole ones do, in half the memory."""

import json
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from mmbridge_registry.blocks import stacked
from torch import nn
from toys.placed import placed, recipe_of, shared_out
from toys.ranks import on_ranks

from mmbridge.collectives import Collectives
from mmbridge.placement import is_sharded

CASES = [("blip2_tiny_opt", "generation"), ("blip2_tiny", "generation")]
PLACEMENTS = ("replicate", "shard")
SHORT = (
    "~evaluate.answers", "~evaluate.captions_of_unseen_pairs", "evaluate.captions.data.size=4", "run.device=cpu",
    "evaluate.captions.every=1", "evaluate.retrieval.data.size=16", "run.workers=0", "run.threads=1",
    "stages.representation.steps=1", "stages.generation.steps=2", "model.bridge.dropout=0.1",
    "stages.representation.batch_size=4", "stages.generation.batch_size=4",
)  # fmt: skip


@dataclass(frozen=True)
class TwoRanks:
    """What came of it."""

    folder: Path
    steps: dict[tuple[str, str], list[Any]]
    """By case: for each rank its step with whole towers and its step with sharded ones."""
    learned: dict[str, dict[str, torch.Tensor]]
    """By placement: tensors of the last checkpoint of a short run."""


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> TwoRanks:
    """All that two ranks do here: starting them costs more."""
    folder = tmp_path_factory.mktemp("runs")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    overrides = [
        [*SHORT, f"run.directory={folder}", f"run.name={name}", f"run.placement={name}"] for name in PLACEMENTS
    ]
    ranks = on_ranks(2, placed, CASES, port, overrides)
    steps = {case: [rank[0][number] for rank in ranks] for number, case in enumerate(CASES)}
    return TwoRanks(folder, steps, dict(zip(PLACEMENTS, ranks[0][1], strict=True)))


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=" ".join)
def test_sharded_towers_give_the_gradients_of_whole_ones(two_ranks: TwoRanks, case: tuple[str, str]) -> None:
    for (loss, gradients, held), (loss_of_shards, of_shards, held_in_shards) in two_ranks.steps[case]:
        torch.testing.assert_close(loss_of_shards, loss, rtol=1e-12, atol=0)
        assert set(of_shards) == set(gradients)
        assert all(name.startswith(("bridge.", "projection.")) for name in of_shards)
        whole = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
        for name, gradient in gradients.items():
            assert (of_shards[name] - gradient).norm() <= 1e-12 * whole, name
        assert held_in_shards["bridge"] == held["bridge"]
        for tower in ("vision_encoder", "language_model"):  # embeddings and heads stay whole
            assert 0.5 <= held_in_shards[tower] / held[tower] < 0.6


@pytest.mark.slow
def test_a_run_with_sharded_towers_learns_and_answers_as_one_with_whole_ones(two_ranks: TwoRanks) -> None:
    whole, in_shards = (two_ranks.learned[name] for name in PLACEMENTS)
    assert set(in_shards) == set(whole) and len(whole) > 50
    for name, tensor in whole.items():
        torch.testing.assert_close(in_shards[name], tensor, rtol=1e-5, atol=1e-6)
    results = [json.loads((two_ranks.folder / name / "evaluation.json").read_text()) for name in PLACEMENTS]
    assert results[0] and results[0].keys() == results[1].keys()
    assert all(results[1][key]["value"] == pytest.approx(results[0][key]["value"], abs=1e-4) for key in results[0])


@pytest.mark.slow
def test_32_rows_have_one_gradient_however_they_are_shared_out() -> None:
    """Alone and whole; four times 8 in turn; 8 on each of four ranks, there with sharded towers and in turn too."""
    stages = ("representation", "generation")
    alone = [(stage, "replicate", size) for stage in stages for size in (None, 8)]
    on_four = [(stage, *how) for stage in stages for how in (("replicate", None), ("shard", 2))]
    steps = dict(zip(alone, shared_out(Collectives(), 32, alone), strict=True))
    ranks = on_ranks(4, shared_out, 32, on_four)
    found = [(case, step) for rank in ranks for case, step in zip(on_four, rank, strict=True)]
    for case, (loss, gradients, _) in [*steps.items(), *found]:
        whole_loss, whole, _ = steps[case[0], "replicate", None]
        torch.testing.assert_close(loss, whole_loss, rtol=1e-6, atol=0)  # logged in float32
        assert gradients.keys() == whole.keys() and len(whole) > 50
        norm = torch.stack([gradient.norm() for gradient in whole.values()]).norm()
        for name, gradient in gradients.items():
            assert (gradient - whole[name]).norm() <= 1e-10 * norm, (case, name)


def test_what_is_sharded_if_nobody_says_it() -> None:
    assert [is_sharded("auto", size, 100) for size in (50, 51)] == [False, True]
    assert not is_sharded("auto", 51, None)  # a CPU's memory is everybody's
    assert is_sharded("shard", 1, None) and not is_sharded("replicate", 99, 100)


def test_only_what_stays_as_it_is_stored_can_be_sharded() -> None:
    assert recipe_of("blip2_tiny").shardable() == ["vision_encoder", "language_model"]
    trained = recipe_of("blip2_tiny", "stages.generation.train=[bridge, language_model]")
    assert trained.shardable() == ["vision_encoder"]


def test_blocks_are_the_topmost_stacks_of_one_class() -> None:
    def layer() -> nn.Module:
        return nn.Sequential(nn.Linear(2, 2), nn.GELU())

    stack, other, alone = (nn.ModuleList(layer() for _ in range(count)) for count in (3, 2, 1))
    network = nn.ModuleDict({"head": nn.Linear(2, 2), "deep": nn.ModuleDict({"stack": stack}), "other": other})
    assert stacked(network) == [*stack, *other]
    assert stacked(nn.ModuleList([alone, nn.Linear(2, 2)])) == []
