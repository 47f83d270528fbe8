"""This process's place in a run: precision and randomness, as far as they can be seen without a GPU."""

import pytest
import torch

from mmbridge.engine import alone
from mmbridge.recipe import Run


@pytest.mark.parametrize(
    ("precision", "has_bfloat16", "expected"),
    [
        ("auto", True, torch.bfloat16),
        ("auto", False, None),
        ("float32", True, None),
        ("bfloat16", False, torch.bfloat16),
    ],
)
def test_bfloat16_is_chosen_where_a_gpu_has_it(
    precision: str, has_bfloat16: bool, expected: torch.dtype | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.set_device", lambda device: None)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: has_bfloat16 or including_emulation)
    here = alone(Run.model_validate({"precision": precision}))
    assert here.device == torch.device("cuda", 0) and here.autocast == expected


def test_what_is_drawn_inside_is_not_seen_outside() -> None:
    here, before = alone(Run(device="cpu")), torch.get_rng_state()
    with here.same_randomness():
        torch.rand(3)
    assert torch.equal(torch.get_rng_state(), before)
