"""Promises of the contract, and the states of a part in which they are checked."""

import io
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

Part = TypeVar("Part", bound=nn.Module)
TOLERANCE = 1e-4
"""Largest difference of two float32 results that should be equal, relative to their norm."""


def expect(kept: bool, promise: str) -> None:
    """Raise AssertionError with the promise unless it is kept."""
    if not kept:
        raise AssertionError(promise)


def expect_close(got: Tensor, want: Tensor, promise: str) -> None:
    """Expect two results that differ by rounding only."""
    expect(got.shape == want.shape, f"{promise} (shapes {list(got.shape)} and {list(want.shape)})")
    difference = (got.double() - want.double()).norm()
    expect(bool(difference <= TOLERANCE * want.double().norm() + 1e-6), f"{promise} (they differ by {difference:.2g})")


def expect_pickles(thing: Any, promise: str) -> Any:
    """Expect that a thing survives pickling; gives the copy."""
    try:
        return pickle.loads(pickle.dumps(thing))
    except Exception as error:
        raise AssertionError(f"{promise} ({type(error).__name__}: {error})") from error


@contextmanager
def state(part: nn.Module, *, grad: bool, training: bool) -> Iterator[None]:
    """Put a part into a state, with torch's seed fixed; afterwards everything is as it was."""
    flags = {parameter: parameter.requires_grad for parameter in part.parameters()}
    modes = {module: module.training for module in part.modules()}
    part.requires_grad_(grad).train(training)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            yield
        finally:
            for parameter, flag in flags.items():
                parameter.requires_grad_(flag)
                parameter.grad = None
            for module, mode in modes.items():
                module.training = mode


def expect_stays_in_eval_mode(part: nn.Module) -> None:
    """Expect that a frozen tower ignores `train()`: its dropout and its running statistics must not move."""
    with state(part, grad=False, training=False):
        part.train()
        loud = [name or "itself" for name, module in part.named_modules() if module.training]
        expect(not loud, f"a frozen tower stays in eval mode when train() is called; these do not: {loud[:3]}")


def expect_safe_dtype(part: nn.Module, safe_dtypes: frozenset[torch.dtype]) -> None:
    """Expect that a tower stores itself in a dtype that it calls safe."""
    stored = {parameter.dtype for parameter in part.parameters()}
    expect(torch.float32 in safe_dtypes, "safe_dtypes has float32 in it")
    expect(stored <= safe_dtypes, f"parameters are stored in a dtype of safe_dtypes, not in {stored - safe_dtypes}")


def expect_saves(part: Part, result: Callable[[Part], Tensor]) -> None:
    """Expect that `state_dict` holds all that training changes: loaded elsewhere it gives the same results."""
    with state(part, grad=False, training=False):
        want = result(part)
        other = deepcopy(part)
        for parameter in other.parameters():
            parameter.add_(torch.randn_like(parameter))
        file = io.BytesIO()
        torch.save(part.state_dict(), file)
        file.seek(0)
        other.load_state_dict(torch.load(file, weights_only=True))
        expect_close(result(other), want, "a part that loads another's state_dict gives the other's results")


def weighted_sum(outputs: Tensor) -> Tensor:
    """Give a scalar on which every entry counts differently, so that no gradient cancels."""
    return (outputs.float() * torch.linspace(0.5, 1.5, outputs.numel()).reshape(outputs.shape)).sum()
