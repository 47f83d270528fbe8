"""Opening all data sets once, several at a time, so that a run finds their tables and indices made.

Each is opened in a process of its own: reading annotations is Python's work, of which a process does one thing at a
time. What a data set leaves behind appears whole or not at all, so whoever is killed goes on with the rest.
"""

import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from threading import Thread
from time import perf_counter

from mmbridge_registry import Catalog
from mmbridge_registry.opening import opening

from mmbridge.data.opening import DataSet, open_one
from mmbridge.data.processes import end_with_parent

OFTEN = 0.1
"""Seconds between two messages of how far a data set is."""

Progress = Callable[[DataSet, int, int | None, str], None]
"""Is told of a data set how much of it is done, how much there is (None: nobody knows), and of what."""


@dataclass(frozen=True)
class Indexed:
    """A data set that was opened, or why it could not be."""

    data_set: DataSet
    records: int | None
    failure: str | None
    seconds: float


@dataclass(frozen=True)
class _Child:
    data_set: DataSet
    process: BaseProcess
    connection: Connection


def index_all(
    data_sets: Sequence[DataSet], catalog: Catalog, workers: int, progress: Progress, again: bool = False
) -> list[Indexed]:
    """Open every data set, `workers` at a time; `again` lets those that changed since be indexed anew."""
    if workers <= 1 or len(data_sets) <= 1:
        return [_index(one, catalog, again, progress) for one in data_sets]
    places = {one.name: place for place, one in enumerate(data_sets)}
    return sorted(_in_children(data_sets, catalog, workers, progress, again), key=lambda one: places[one.data_set.name])


def _index(data_set: DataSet, catalog: Catalog, again: bool, progress: Progress) -> Indexed:
    try:
        with opening(_seldom(data_set, progress), again):
            opened = open_one(data_set, catalog)
    except Exception as error:  # a plugin's own mistake must not hide the other data sets
        return Indexed(data_set, None, f"{type(error).__name__}: {error}", 0.0)
    return Indexed(data_set, None if opened.dataset is None else len(opened.dataset), opened.failure, opened.seconds)


def _seldom(data_set: DataSet, progress: Progress) -> Callable[[int, int | None, str], None]:
    last = 0.0

    def say(done: int, total: int | None, unit: str) -> None:
        nonlocal last
        if (now := perf_counter()) - last > OFTEN or done == total:
            last = now
            progress(data_set, done, total, unit)

    return say


def _in_children(
    data_sets: Sequence[DataSet], catalog: Catalog, workers: int, progress: Progress, again: bool
) -> Iterator[Indexed]:
    left, children = deque(data_sets), list[_Child]()
    try:
        while left or children:
            while left and len(children) < workers:
                children.append(_start(left.popleft(), catalog, again))
            talking = wait([child.connection for child in children])
            for child in [child for child in children if child.connection in talking]:
                said = _heard(child)
                if isinstance(said, Indexed):
                    children.remove(child)
                    yield said
                else:
                    progress(*said)
    finally:
        _end(children)


def _heard(child: _Child) -> Indexed | tuple[DataSet, int, int | None, str]:
    try:
        said = child.connection.recv()
    except EOFError:
        child.process.join()
        failure = f"its process ended with code {child.process.exitcode}: is there enough memory?"
        return Indexed(child.data_set, None, failure, 0.0)
    if len(said) == 1:  # it has ended
        child.process.join()
        return Indexed(child.data_set, *said[0])
    return (child.data_set, *said)


def _start(data_set: DataSet, catalog: Catalog, again: bool) -> _Child:
    # Forked, because a process that is started anew would run the user's own script again.
    context = get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(there, data_set, catalog, again))
    with _held_back():
        process.start()
    there.close()
    return _Child(data_set, process, here)


@contextmanager
def _held_back() -> Iterator[None]:
    """Hold Ctrl-C back while a process is born: until it has its own handler, it would end with a traceback."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(there: Connection, data_set: DataSet, catalog: Catalog, again: bool) -> None:
    Thread(target=end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, _stop)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        done = _index(data_set, catalog, again, lambda _, *said: there.send(said))
        there.send(((done.records, done.failure, done.seconds),))
    except KeyboardInterrupt:
        os._exit(128 + signal.SIGINT)


def _stop(*_: object) -> None:
    # Once: Ctrl-C on a terminal reaches this process, and the main process hands it on as well.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def _end(children: Sequence[_Child]) -> None:
    for child in children:
        if child.process.pid is not None and child.process.is_alive():
            os.kill(child.process.pid, signal.SIGINT)
        child.connection.close()
        child.process.join()
