"""Examining many records in several processes, given in order; Ctrl-C ends them all."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice

from mmbridge_registry import Dataset, MmbridgeError

from mmbridge.data.examining import Examined, Limits, examine

CHUNK = 32
"""Records that a process examines at once."""
AHEAD = 4
"""Chunks per process that are asked for before they are needed."""

_given: dict[str, Dataset] = {}


def examine_all(dataset: Dataset, indices: Sequence[int], limits: Limits, workers: int) -> Iterator[Examined]:
    """Examine records in the order of `indices`, by `workers` processes; 0 examines in this one.

    Raises:
        MmbridgeError: a process died.
    """
    if workers == 0:
        yield from (examine(dataset, index, limits) for index in indices)
        return
    pool = ProcessPoolExecutor(min(workers, -(-len(indices) // CHUNK)), initializer=_start, initargs=(dataset,))
    try:
        for future in _in_flight(pool, indices, limits, workers * AHEAD):
            yield from future.result()
    except BrokenProcessPool as error:
        do = "Examine with fewer (--workers), or give the machine more memory."
        raise MmbridgeError("a process that examined records died.", do=do) from error
    finally:
        pool.shutdown(cancel_futures=True)


def available() -> int:
    """Give the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _in_flight(
    pool: ProcessPoolExecutor, indices: Sequence[int], limits: Limits, ahead: int
) -> Iterator[Future[list[Examined]]]:
    """Give the results in order, never more of them asked for than `ahead`: memory stays flat."""
    chunks = (indices[first : first + CHUNK] for first in range(0, len(indices), CHUNK))

    def submit(chunk: Sequence[int]) -> Future[list[Examined]]:
        return pool.submit(_examine_chunk, limits, chunk)

    # Processes are born with Ctrl-C held back: until they ignore it, it would end them with a traceback.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        asked = deque(map(submit, islice(chunks, ahead)))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    while asked:
        yield asked.popleft()
        asked.extend(map(submit, islice(chunks, 1)))


def _start(dataset: Dataset) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=end_with_parent, daemon=True).start()
    _given["dataset"] = dataset


def end_with_parent() -> None:
    """End this process when the one that started it is gone."""
    # A main process that is killed tells nobody, and its processes would wait for work for ever.
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def _examine_chunk(limits: Limits, indices: Sequence[int]) -> list[Examined]:
    return [examine(_given["dataset"], index, limits) for index in indices]
