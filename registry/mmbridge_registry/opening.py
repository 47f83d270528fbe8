"""What is asked of data sets while they are opened: to say how far they are, and to index anew what has changed.

A dataset plugin may say and ask it where it takes long; nobody has to, and nothing is passed through its options.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

Progress = Callable[[int, int | None, str], None]
"""Is told how many are done, how many there are (None: nobody knows), and of what: `tars`, `records`."""


@dataclass(frozen=True)
class _Wishes:
    progress: Progress | None = None
    again: bool = False


_wishes: ContextVar[_Wishes] = ContextVar("opening", default=_Wishes())  # noqa: B039 - frozen


@contextmanager
def opening(progress: Progress | None = None, again: bool = False) -> Iterator[None]:
    """Let data sets that are opened inside the block say how far they are, and index anew what has changed."""
    token = _wishes.set(_Wishes(progress, again))
    try:
        yield
    finally:
        _wishes.reset(token)


def say_progress(done: int, total: int | None, unit: str) -> None:
    """Say how far the opening of a data set is, if anybody listens; a thousand times in all is often enough."""
    if (progress := _wishes.get().progress) is not None:
        progress(done, total, unit)


def asked_again() -> bool:
    """Tell if what has changed since it was indexed is to be indexed anew; without being asked, that is an error."""
    return _wishes.get().again
