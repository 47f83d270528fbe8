import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from mmbridge_registry import Batch, MmbridgeError, Tokens, UserError

from mmbridge.data.loader import StepBatches, load
from mmbridge.data.order import Mixture

STEPS = 4
FAILURES = ("error", "mistake")
SCRIPT = Path(__file__).with_name("hold_a_loader.py")


@pytest.fixture
def mixture(album) -> Mixture:
    sets = {"a": album(size=23, broken={3: "truncated", 7: "missing"}), "b": album(size=9, shade=1)}
    return Mixture(sets, {"a": 0.7, "b": 0.3}, seed=5)


@pytest.fixture
def batches(mixture: Mixture, preparation):
    def of_rank(rank: int = 0, world_size: int = 1, **changed) -> StepBatches:
        given = {"mixture": mixture, "batch_size": 8, **preparation, **changed}
        return StepBatches(rank=rank, world_size=world_size, **given)

    return of_rank


def rows(parts: list[Batch]) -> tuple[torch.Tensor, ...]:
    captions = Tokens.cat([part.prepared["captions"] for part in parts])
    drawn = torch.cat([part.prepared["drawn"] for part in parts])
    tensors = [torch.cat([getattr(part, name) for part in parts]) for name in ("pixels", "image_ids", "positions")]
    return (*tensors, drawn, captions.ids, captions.mask)


@pytest.fixture
def reference(batches) -> list[tuple[torch.Tensor, ...]]:
    return [rows([batches().prepare(step).batch]) for step in range(STEPS)]


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_global_batches_are_the_same_on_any_ranks_and_workers(ranks: int, workers: int, batches, reference) -> None:
    per_rank = [[batch for batch, _ in load(batches(rank, ranks), 0, STEPS, workers)] for rank in range(ranks)]
    assert all(len(batch) == 8 // ranks for loaded in per_rank for batch in loaded)
    for step in range(STEPS):
        joined = rows([per_rank[rank][step] for rank in range(ranks)])
        assert all(torch.equal(one, other) for one, other in zip(joined, reference[step], strict=True))


def test_a_run_that_goes_on_sees_what_an_unbroken_one_sees(batches, reference) -> None:
    for first in (1, 3):
        resumed = [rows([batch]) for batch, _ in load(batches(), first, STEPS, 1)]
        assert len(resumed) == STEPS - first
        for one, other in zip(resumed, reference[first:], strict=True):
            assert all(map(torch.equal, one, other))
    assert list(load(batches(), STEPS, STEPS, 2)) == []


def test_far_steps_cost_no_more_than_near_ones(batches) -> None:
    ((batch, _),) = load(batches(), 10**9, 10**9 + 1, 0)
    assert batch.positions.tolist() == list(range(8 * 10**9, 8 * 10**9 + 8))


def test_bad_records_are_replaced_and_reported_at_any_number_of_workers(batches) -> None:
    reports = []
    for workers in (0, 2):
        loaded = list(load(batches(), 0, 8, workers))
        assert all(len(batch) == 8 for batch, _ in loaded)
        reports.append([sample for _, bad in loaded for sample in bad])
    assert reports[0] == reports[1]
    assert {sample.name for sample in reports[0]} == {"3.jpg", "7.jpg"}


def test_the_same_image_has_the_same_number_in_all_rows(batches, mixture: Mixture) -> None:
    numbers: dict[tuple[str, int], set[int]] = {}
    for batch, bad in load(batches(), 0, 8, 0):
        hurt = {sample.position for sample in bad}
        for position, image_id in zip(batch.positions.tolist(), batch.image_ids.tolist(), strict=True):
            place = mixture.place(position)
            if position not in hurt:
                numbers.setdefault((place.name, place.index // 2), set()).add(image_id)
    assert all(len(ids) == 1 for ids in numbers.values())
    assert len(set.union(*numbers.values())) == len(numbers)
    assert batch.image_ids.dtype == torch.int64


@pytest.mark.parametrize("workers", [0, 1])
def test_the_global_generator_is_left_alone(workers: int, batches) -> None:
    state = torch.get_rng_state()
    list(load(batches(), 0, 2, workers))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_users_mistake_in_a_worker_arrives_as_one_line(workers: int, batches, album) -> None:
    lost = Mixture({"web": album(broken={-1: "missing"})}, {"web": 1}, 0)
    with pytest.raises(UserError) as caught:
        list(load(batches(mixture=lost), 0, 1, workers))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("data.web: 100 records in a row")


def kill_oneself(_: object) -> torch.Tensor:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def test_a_worker_that_dies_is_told_in_one_line(batches) -> None:
    with pytest.raises(MmbridgeError, match=r"a loader process died .*run\.workers"):
        list(load(batches(transform=kill_oneself), 0, 1, 1))


def test_batches_can_be_sent_to_a_fresh_process(batches, reference) -> None:
    sent = pickle.loads(pickle.dumps(batches()))
    assert all(map(torch.equal, rows([sent.prepare(2).batch]), reference[2]))


def test_every_tensor_is_pinned_for_the_copy_to_a_gpu(batches, monkeypatch) -> None:
    pinned: list[int] = []

    def pin_memory(tensor: torch.Tensor) -> torch.Tensor:
        pinned.append(tensor.data_ptr())
        return tensor.clone()

    loaded = batches().prepare(0)
    monkeypatch.setattr(torch.Tensor, "pin_memory", pin_memory)
    copied = loaded.pin_memory()
    assert sorted(pinned) == sorted(tensor.data_ptr() for tensor in rows_of(loaded.batch))
    assert all(map(torch.equal, rows_of(copied.batch), rows_of(loaded.batch)))
    assert copied.bad == loaded.bad


def rows_of(batch: Batch) -> list[torch.Tensor]:
    captions = batch.prepared["captions"]
    return [batch.pixels, batch.image_ids, batch.positions, batch.prepared["drawn"], captions.ids, captions.mask]


def test_an_iterator_that_is_left_takes_its_workers_with_it(batches) -> None:
    before = set(multiprocessing.active_children())
    steps = iter(load(batches(), 0, 1000, 2))
    next(steps)
    workers = set(multiprocessing.active_children()) - before
    assert len(workers) == 2
    del steps
    deadline = time.monotonic() + 120
    while any(worker.is_alive() for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(worker.is_alive() for worker in workers)


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["interrupt", "terminate", "error", "mistake", "end"])
def test_a_process_that_ends_ends_quietly_and_at_once(ending: str) -> None:
    """Signals go to the whole process group, as a terminal and a scheduler send them."""
    process = subprocess.Popen(
        [sys.executable, SCRIPT, ending],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == ("" if ending == "mistake" else "loading\n")
    number = {"interrupt": signal.SIGINT, "terminate": signal.SIGTERM}.get(ending)
    if number is not None:
        os.killpg(process.pid, number)
    out, err = process.communicate(timeout=300)
    assert out == ("" if ending in FAILURES else "ended by its own will\n")
    assert err.count("Traceback") == (ending in FAILURES)
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
