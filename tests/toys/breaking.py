"""Breaking a good part on purpose, to see that somebody notices."""

from collections.abc import Callable
from inspect import isfunction
from typing import Any


def broken(part: Any, **changes: Any) -> Any:
    """Give the part with some methods, properties or attributes replaced."""
    methods = {name: value for name, value in changes.items() if isfunction(value) or isinstance(value, property)}
    part.__class__ = type(f"Broken{type(part).__name__}", (type(part),), methods)
    for name in changes.keys() - methods.keys():
        setattr(part, name, changes[name])
    return part


def good(part: Any, method: str = "forward") -> Callable[..., Any]:
    """Give the unbroken method of a broken part."""
    return getattr(super(type(part), part), method)


class Sealed:
    """A callable that cannot be pickled."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call = call

    def __call__(self, *arguments: Any) -> Any:
        return self.call(*arguments)

    def __reduce__(self) -> Any:
        raise TypeError("sealed")
