"""Fingerprints: what a file or folder holds, whatever it is called; large files are summed up once. Torch-free."""

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from mmbridge_registry.cache import cache_folder

CONTENTS = (".safetensors", ".json")
"""Files of a folder of weights that say what a model computes."""
TEXTS = (".txt", ".model")
"""Files that say how a tokenizer cuts words."""
REMEMBERED = 2**24
"""Bytes from which a file's sum is remembered by size and time of change; reading a smaller one is as quick."""


def of_files(path: Path, suffixes: Sequence[str] = CONTENTS) -> str:
    """Sum up a file, or those of a folder that end so: `sha256 ...`, the same wherever they lie.

    Raises:
        OSError: one cannot be read.
    """
    files = sorted(file for file in path.iterdir() if file.suffix in suffixes) if path.is_dir() else [path]
    sums = [_of_file(file) for file in files]
    return f"sha256 {sums[0] if len(sums) == 1 else hashlib.sha256(' '.join(sums).encode()).hexdigest()}"


def of_code(package: Path) -> str:
    """Sum up the Python files of a package, by their places in it."""
    summed = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        summed.update(f"{file.relative_to(package).as_posix()}\0{sha256(file)}\n".encode())
    return f"sha256 {summed.hexdigest()}"


def _of_file(file: Path) -> str:
    """Sum up a file; one that is large and has not changed since is not read again."""
    facts = file.stat()
    if facts.st_size < REMEMBERED:
        return sha256(file)
    stamp = [facts.st_size, facts.st_mtime_ns, facts.st_ino]
    name = hashlib.sha256(os.fsencode(file.resolve())).hexdigest()[:32]
    note = cache_folder() / "fingerprints" / f"{name}.json"
    with suppress(OSError, ValueError, TypeError):
        before, remembered = json.loads(note.read_text())
        if before == stamp:
            return remembered
    summed = sha256(file)
    with suppress(OSError):  # a cache that cannot be written costs time, not more
        note.parent.mkdir(parents=True, exist_ok=True)
        partial = note.with_suffix(f".{os.getpid()}.tmp")
        partial.write_text(json.dumps([stamp, summed]))
        partial.replace(note)
    return summed


def sha256(file: Path) -> str:
    """Give the SHA-256 of a file's bytes, in hexadecimal."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
