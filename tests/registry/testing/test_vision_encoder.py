"""The check of vision encoders: a good one passes, every broken promise is named."""

import random
from typing import Any

import pytest
import torch
from mmbridge_registry.testing import check_vision_encoder
from third_party.installing import STRANGER
from torch import Tensor, nn
from toys.breaking import broken, good

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def stranger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(STRANGER))


class Flat:
    """A transform that draws where it is told to."""

    def __init__(self, size: int, dtype: torch.dtype = torch.float32, python: bool = False, torchs: bool = False):
        self.shape, self.dtype, self.python, self.torchs = (3, size, size), dtype, python, torchs

    def __call__(self, image: object) -> Tensor:
        value = random.random() if self.python else float(torch.rand(())) if self.torchs else 0.0
        return torch.full(self.shape, value, dtype=self.dtype)


class TestVisionEncoder:
    def encoder(self) -> Any:
        from mmbridge_stranger import ConvOptions, build_conv

        return build_conv(ConvOptions(patches=4))

    def test_a_good_one_passes_and_is_left_as_it_was(self) -> None:
        encoder = self.encoder()
        before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
        seed = torch.random.get_rng_state()
        check_vision_encoder(encoder)
        assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())
        assert all(parameter.requires_grad and parameter.grad is None for parameter in encoder.parameters())
        assert torch.equal(torch.random.get_rng_state(), seed)

    @pytest.mark.parametrize(
        ("promise", "changes"),
        [
            ("num_tokens, width", {"num_tokens": 15}),
            ("stays in eval mode", {"train": nn.Module.train}),
            ("safe_dtypes", {"safe_dtypes": frozenset({torch.bfloat16})}),
            ("stored in a dtype", {"patches": nn.Conv2d(3, 24, 8, 8).double().eval()}),
            ("what its images give alone", {"forward": lambda self, x: good(self)(x) - good(self)(x).mean(0)}),
            ("same features", {"forward": lambda self, x: good(self)(x) + torch.rand(())}),
            ("different images", {"forward": lambda self, x: good(self)(x * 0)}),
            ("finite", {"forward": lambda self, x: good(self)(x) / 0}),
            ("nothing for backward", {"forward": lambda self, x: good(self)(x) * torch.ones(1, requires_grad=True)}),
            ("picklable", {"transform": lambda self, train: lambda image: torch.zeros(3, 32, 32)}),
            ("image_size, image_size", {"transform": lambda self, train: Flat(31)}),
            ("float32", {"transform": lambda self, train: Flat(32, torch.float64)}),
            ("torch's default generator only", {"transform": lambda self, train: Flat(32, python=True)}),
            (r"train=False\) draws nothing", {"transform": lambda self, train: Flat(32, torchs=True)}),
            ("state_dict", {"load_state_dict": lambda self, state: None}),
        ],
    )
    def test_broken_promises(self, promise: str, changes: dict[str, Any]) -> None:
        with pytest.raises(AssertionError, match=promise):
            check_vision_encoder(broken(self.encoder(), **changes))

    def test_built_in_training_mode(self) -> None:
        with pytest.raises(AssertionError, match="built in eval mode"):
            check_vision_encoder(self.encoder().train())
