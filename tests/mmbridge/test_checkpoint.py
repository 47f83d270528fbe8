"""Checkpoints: whole or not at all, verified, exact."""

from pathlib import Path

import pytest
import torch
from mmbridge_registry import UserError
from torch import nn

from mmbridge import checkpoint


@pytest.fixture
def layer() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 2)


def step_of(layer: nn.Linear, optimizer: torch.optim.Optimizer) -> None:
    layer(torch.ones(1, 3)).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def save(folder: Path, layer: nn.Linear, optimizer: torch.optim.Optimizer, step: int, keep: int = 9) -> Path:
    trained = dict(layer.named_parameters())
    return checkpoint.write(folder, checkpoint.Snapshot.of(trained, {"step": step}, trained, optimizer), keep)


def test_training_goes_on_bit_for_bit(tmp_path: Path, layer: nn.Linear) -> None:
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1)
    step_of(layer, optimizer)
    save(tmp_path, layer, optimizer, 1)
    step_of(layer, optimizer)

    found, _ = checkpoint.newest(tmp_path)
    assert found is not None and found.step == 1
    other = nn.Linear(3, 2)
    other.load_state_dict(found.weights())
    other_optimizer = torch.optim.AdamW(other.parameters(), lr=0.1)
    checkpoint.load_optimizer(found, dict(other.named_parameters()), other_optimizer)
    step_of(other, other_optimizer)
    assert torch.equal(other.weight, layer.weight) and torch.equal(other.bias, layer.bias)


@pytest.mark.parametrize("file", [checkpoint.WEIGHTS, checkpoint.OPTIMIZER, checkpoint.STATE])
@pytest.mark.parametrize("harm", ["flip a bit", "truncate", "empty", "remove"])
def test_a_harmed_checkpoint_is_passed_over_and_named(tmp_path: Path, layer: nn.Linear, file: str, harm: str) -> None:
    optimizer = torch.optim.AdamW(layer.parameters())
    step_of(layer, optimizer)
    save(tmp_path, layer, optimizer, 1)
    harmed = save(tmp_path, layer, optimizer, 2) / file
    data = bytearray(harmed.read_bytes())
    data[-1] ^= 1
    match harm:
        case "flip a bit":
            harmed.write_bytes(data)
        case "truncate":
            harmed.write_bytes(data[:-3])
        case "empty":
            harmed.write_bytes(b"")
        case _:
            harmed.unlink()
    found, reasons = checkpoint.newest(tmp_path)
    assert found is not None and found.step == 1
    assert len(reasons) == 1 and file in reasons[0]
    with pytest.raises(UserError, match="step-00000002"):
        checkpoint.read(harmed.parent)


def test_half_a_checkpoint_is_none(tmp_path: Path, layer: nn.Linear) -> None:
    optimizer = torch.optim.AdamW(layer.parameters())
    save(tmp_path, layer, optimizer, 1)
    (tmp_path / "step-00000002.tmp").mkdir()
    (tmp_path / "step-00000003").mkdir()
    found, reasons = checkpoint.newest(tmp_path)
    assert found is not None and found.step == 1 and len(reasons) == 1


def test_the_newest_are_kept(tmp_path: Path, layer: nn.Linear) -> None:
    optimizer = torch.optim.AdamW(layer.parameters())
    for step in (1, 2, 3, 4):
        save(tmp_path, layer, optimizer, step, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000003", "step-00000004"]


def test_a_broken_newer_one_costs_no_good_one(tmp_path: Path, layer: nn.Linear) -> None:
    optimizer = torch.optim.AdamW(layer.parameters())
    for step in (5, 9, 10):
        save(tmp_path, layer, optimizer, step)
    for step in (9, 10):
        (tmp_path / f"step-{step:08d}" / checkpoint.WEIGHTS).write_bytes(b"")
    save(tmp_path, layer, optimizer, 6, keep=1)
    found, reasons = checkpoint.newest(tmp_path)
    assert found is not None and (found.step, len(reasons)) == (6, 2)
    save(tmp_path, layer, optimizer, 9, keep=2)
    found, _ = checkpoint.newest(tmp_path)
    assert found is not None and found.step == 9
    assert [path.name[-2:] for path in sorted(tmp_path.iterdir())] == ["06", "09", "10"]


def test_another_set_of_trained_tensors_is_refused(tmp_path: Path, layer: nn.Linear) -> None:
    optimizer = torch.optim.AdamW(layer.parameters())
    step_of(layer, optimizer)
    save(tmp_path, layer, optimizer, 1)
    found, _ = checkpoint.newest(tmp_path)
    assert found is not None
    with pytest.raises(UserError, match="bias"):
        checkpoint.load_optimizer(found, {"weight": layer.weight}, torch.optim.AdamW([layer.weight]))
