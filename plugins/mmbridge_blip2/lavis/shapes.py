"""Shapes by name: what a file must hold, checked before anything is built from it."""

from collections.abc import Iterable, Mapping

from mmbridge_registry import UserError
from torch import Tensor

Shapes = dict[str, tuple[int | None, ...]]
"""Names and their shapes; None is a size that no tensor of the file tells."""


def linear(name: str, out: int | None, given: int) -> Shapes:
    """A matrix [out, given] and its bias."""
    return {f"{name}.weight": (out, given), f"{name}.bias": (out,)}


def norm(name: str, width: int) -> Shapes:
    """A norm's weight and bias."""
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def require(wanted: Shapes, tensors: Mapping[str, Tensor], source: object) -> None:
    """Refuse a file that lacks one of these.

    Raises:
        UserError: names the first, and how many there are.
    """
    missing = [name for name in wanted if name not in tensors]
    if missing:
        more = f" and {len(missing) - 1} more" if missing[1:] else ""
        raise UserError(f"it lacks {missing[0]}{more}.", where=source, do="Get the whole file.")


def agree(wanted: Shapes, tensors: Mapping[str, Tensor], source: object) -> None:
    """Refuse a tensor of another shape.

    Raises:
        UserError: names it and both shapes.
    """
    for name in wanted.keys() & tensors.keys():
        if tuple(tensors[name].shape) != wanted[name]:
            raise UserError(
                f"{name} has shape {list(tensors[name].shape)}, but the other tensors want {list(wanted[name])}.",
                where=source,
                do="Give the original file: parts of two models do not mix.",
            )


def size(tensors: Mapping[str, Tensor], name: str, axis: int, dimensions: int, source: object) -> int:
    """Read a size off a tensor.

    Raises:
        UserError: it is missing, empty, or has not so many dimensions.
    """
    require({name: ()}, tensors, source)
    shape = tensors[name].shape
    if len(shape) != dimensions or 0 in shape:
        raise UserError(f"{name} has shape {list(shape)}.", where=source, do="Give the original file.")
    return shape[axis]


def count(names: Iterable[str], prefix: str, source: object) -> int:
    """Count what is numbered from 0 behind a prefix (layers, blocks).

    Raises:
        UserError: there are none, or a number is left out.
    """
    numbers = {name.removeprefix(prefix).partition(".")[0] for name in names if name.startswith(prefix)}
    if not numbers or numbers != {str(number) for number in range(len(numbers))}:
        raise UserError(f"{prefix}* does not count from 0 without a gap.", where=source, do="Get the whole file.")
    return len(numbers)
