import pytest
from mmbridge_registry import UserError

from mmbridge.data.loader import StepBatches, load
from mmbridge.data.order import Mixture
from mmbridge.data.samples import image_number
from mmbridge.data.trace import Traced, trace

BATCH = 8
STEPS = (1, 2, 5)


@pytest.fixture
def mixture(album) -> Mixture:
    sets = {"a": album(size=11, broken={3: "truncated", 7: "missing", 8: "silent"}), "b": album(size=9, shade=1)}
    return Mixture(sets, {"a": 0.7, "b": 0.3}, seed=5)


def whole(mixture: Mixture, step: int) -> list[Traced]:
    return list(trace(mixture, BATCH, step, range(BATCH)))


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_traced_step_is_what_the_loader_gives(mixture: Mixture, preparation, ranks: int, workers: int) -> None:
    replaced = 0
    for step in STEPS:
        traced = whole(mixture, step)
        loaded = [
            next(load(StepBatches(mixture=mixture, batch_size=BATCH, rank=rank, world_size=ranks, **preparation),
                      step - 1, step, workers))
            for rank in range(ranks)
        ]  # fmt: skip
        batches = [batch for batch, _ in loaded]
        assert [row.position for row in traced] == [n for batch in batches for n in batch.positions.tolist()]
        assert [row.text for row in traced] == [text for batch in batches for text in captions(batch)]
        records = [mixture.datasets[row.dataset].read(row.index) for row in traced]
        numbers = [image_number(row.dataset, record, row.index) for row, record in zip(traced, records, strict=True)]
        assert numbers == [number for batch in batches for number in batch.image_ids.tolist()]
        assert [record.name for record in records] == [row.name for row in traced]
        assert [bad for row in traced for bad in row.replaced] == [bad for _, some in loaded for bad in some]
        replaced += sum(bool(row.replaced) for row in traced)
    assert replaced, "the steps must have unreadable records"


def captions(batch) -> list[str]:
    tokens = batch.prepared["captions"]
    return ["".join(map(chr, ids[mask])) for ids, mask in zip(tokens.ids.numpy(), tokens.mask.numpy(), strict=True)]


def test_some_rows_are_as_in_the_whole(mixture: Mixture) -> None:
    assert list(trace(mixture, BATCH, 2, range(3, 6))) == whole(mixture, 2)[3:6]
    far = next(trace(mixture, BATCH, 10**9, range(1)))
    assert far.position == BATCH * (10**9 - 1)


def test_hopeless_data_is_told_as_in_training(album) -> None:
    lost = Mixture({"web": album(broken={-1: "missing"})}, {"web": 1}, 0)
    with pytest.raises(UserError, match="100 records in a row"):
        whole(lost, 1)
