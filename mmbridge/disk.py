"""Files that are there whole or not at all, even if the power goes."""

import os
from collections.abc import Callable
from pathlib import Path


def publish(final: Path, rank: int, write: Callable[[Path], object]) -> None:
    """Let `write` write a file under another name, wait for the disk, and give it its name by one rename."""
    final.parent.mkdir(parents=True, exist_ok=True)
    partial = final.with_name(f"{final.name}.{rank}.tmp")
    write(partial)
    _share(partial)
    to_disk(partial)
    partial.replace(final)
    to_disk(final.parent)


def to_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _share(path: Path) -> None:
    # safetensors lets nobody but the user read its files; what is published here is there for a group to share.
    umask = os.umask(0)
    os.umask(umask)
    path.chmod(0o666 & ~umask)
