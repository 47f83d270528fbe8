"""This process's place in a run: precision and randomness, as far as they can be seen without a GPU."""

import pytest
import torch

from mmbridge.engine import alone, engine
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


def test_several_threads_add_up_the_same_every_time() -> None:
    rows, index = torch.randn(64, 512, requires_grad=True), torch.arange(20_000) % 64
    seen = torch.randn(20_000, 512, generator=torch.Generator().manual_seed(0))
    threads, gradients = torch.get_num_threads(), []
    torch.set_num_threads(2)
    try:
        with engine(Run(device="cpu")):
            for _ in range(4):
                gradients += torch.autograd.grad((rows[index] * seen).sum(), rows)
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(gradient, gradients[0]) for gradient in gradients)
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
