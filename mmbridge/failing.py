"""Failing on several ranks: one says what all of them found; what a rank alone found bears its number. Torch-free."""

# torch documents its stores, and the type checker does not find them.
# pyright: reportPrivateImportUsage=false

import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar, cast

from mmbridge_registry import MmbridgeError

if TYPE_CHECKING:
    from torch.distributed import Store

    from mmbridge.collectives import Collectives
    from mmbridge.engine import Engine

T = TypeVar("T")

PATIENCE = 5.0
"""Seconds in which a rank that has failed waits to hear whether others have."""

GONE = (RuntimeError, ValueError, OSError)
"""What a store raises whose keeper is gone, or was never there."""


def of_first(failure: MmbridgeError | None, collectives: "Collectives") -> MmbridgeError:
    """Give the failure of the first rank that has one, as that rank tells it; all ranks call this."""
    own = failure and {"code": failure.exit_code, "what": failure.what, "where": failure.where, "do": failure.do}
    told = [json.loads(text) for text in collectives.gather_texts(json.dumps(own))]
    first = next(rank for rank, one in enumerate(told) if one is not None)
    if failure is not None and first == collectives.rank:
        return failure
    error = MmbridgeError(told[first]["what"], where=told[first]["where"], do=told[first]["do"])
    error.exit_code = told[first]["code"]
    return error


def agreed(here: "Engine", work: Callable[[], T]) -> T:
    """Do on every rank what may fail on some, however long it takes on one; all ranks call this.

    Raises:
        MmbridgeError: it failed on a rank; every rank raises what the first of them found.
    """
    failure, done = None, None
    try:
        done = work()
    except MmbridgeError as error:
        failure = error
    here.wait_for_all()
    if here.agree(int(failure is not None)):
        raise of_first(failure, here.collectives)
    return cast(T, done)


def say(text: str) -> None:
    """Print what ended this process; of ranks that say the same, only rank 0 does."""
    rank, world_size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if rank == 0:
        print(text, file=sys.stderr, flush=True)
        if world_size > 1:
            _tell(text, range(1, world_size))
    elif _hear(rank) != text:
        print(f"rank {rank}: {text}", file=sys.stderr)


def _tell(text: str, others: Iterable[int]) -> None:
    """Let the other ranks know what rank 0 has said, and stay until they have heard it."""
    with suppress(*GONE):
        store = _store()
        store.set(_key(0), text)
        _wait(store, [_key(other) for other in others])


def _hear(rank: int) -> str | None:
    """Give what rank 0 has said, None if it has not failed, or nobody can tell."""
    with suppress(*GONE):
        store = _store()
        if _wait(store, [_key(0)]):
            said = store.get(_key(0)).decode()
            store.set(_key(rank), "and has heard rank 0")
            return said
    return None


def _store() -> "Store":
    from torch import distributed

    return next(distributed.rendezvous("env://", timeout=timedelta(seconds=PATIENCE)))[0]


def _wait(store: "Store", keys: list[str]) -> bool:
    # `Store.wait` would say on its own that it has waited in vain.
    deadline = time.monotonic() + PATIENCE
    while not (there := store.check(keys)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return there


def _key(rank: int) -> str:
    return f"mmbridge: rank {rank} has failed"
