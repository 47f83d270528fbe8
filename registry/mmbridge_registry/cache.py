"""The cache folder: what can be made again lies there, each thing written once by whoever comes first."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmbridge_registry.errors import UserError

CACHE = "MMBRIDGE_CACHE"
"""Environment variable that names the cache folder; without it, the user's own."""


def cache_folder() -> Path:
    """Give the folder for what can be made again: `$MMBRIDGE_CACHE`, or else in the user's cache folder."""
    if CACHE in os.environ:
        return Path(os.environ[CACHE])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mmbridge"


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keep other processes that write `path` waiting inside the block; a process that dies leaves the place free.

    Raises:
        UserError: the cache cannot be written.
    """
    with writing_cache():
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.with_suffix(".lock").open("w")
        fcntl.flock(file, fcntl.LOCK_EX)
    with file:
        yield


@contextmanager
def writing_cache() -> Iterator[None]:
    """Turn what the disk says into an error that names the cache.

    Raises:
        UserError: the cache cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"the cache cannot be written ({error}).", where=cache_folder(), do=f"Set {CACHE}.") from error
