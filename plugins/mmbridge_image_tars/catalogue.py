"""The catalogue: many tars as one sequence of samples, known from one small file and not from an index each."""

import json
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from hashlib import blake2b
from multiprocessing import current_process, get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import NamedTuple

from mmbridge_registry import UserError
from mmbridge_registry.cache import alone, cache_folder
from mmbridge_registry.opening import asked_again, say_progress

from mmbridge_image_tars.index import MAGIC, Stamp, index_path, read_index, write_index, write_whole

MOST_PROCESSES = 16
FEW = 4
"""So many tars are indexed sooner than processes are started."""


class Shard(NamedTuple):
    """One tar of a catalogue."""

    tar: str
    stamp: Stamp
    samples: int
    """So many are in it."""


def find_tars(sources: str | Sequence[str]) -> list[Path]:
    """Find the tars that folders, globs and paths name: those of a folder or glob by name, each once.

    Raises:
        UserError: one of them names none.
    """
    sources = [sources] if isinstance(sources, str) else sources
    return list(dict.fromkeys(tar.absolute() for source in sources for tar in _tars(source)))


def index_tars(tars: Sequence[Path], processes: int | None = None) -> list[Shard]:
    """Index the tars that have no index yet; give all of them. What was finished before is not done again.

    Processes that ask at once wait for the first of them. Tars that have changed are indexed anew if that is asked for.

    Raises:
        UserError: tars have changed, or are cut short or damaged (once all others are indexed).
    """
    key = blake2b(b"\0".join([MAGIC, *map(os.fsencode, tars)]), digest_size=16).hexdigest()
    path = cache_folder() / "tars" / f"{key}.json"
    stamps = {str(tar): Stamp.of(tar) for tar in tars}
    recorded = _recorded(path)
    if {shard.tar: shard.stamp for shard in recorded} == stamps:
        return recorded
    with alone(path):
        shards = {tar: _indexed_before(tar, stamp) for tar, stamp in stamps.items()}
        missing = [tar for tar, shard in shards.items() if shard is None]
        for done, shard in enumerate(_index(missing, processes), start=len(shards) - len(missing) + 1):
            shards[shard.tar] = shard
            say_progress(done, len(shards), "tars")
        whole = [shard for shard in shards.values() if shard is not None]
        write_whole(path, json.dumps(whole).encode())
    return whole


def changed(tar: str, then: Stamp, now: Stamp) -> UserError:
    """Say that a tar is not the one that was indexed."""
    what = f"{then.size} bytes then, {now.size} now" if then.size != now.size else "another time of change"
    do = "`mmbridge data index CONFIG --again` indexes it anew; runs that were begun before cannot go on exactly."
    return UserError(f"this tar has changed since it was indexed ({what}).", where=tar, do=do)


def _tars(source: str) -> list[Path]:
    path = Path(source)
    if path.is_dir():
        tars = sorted(path.glob("*.tar"))
    elif path.exists():
        tars = [path]
    else:
        found = Path(path.anchor).glob(str(path.relative_to(path.anchor))) if path.name else ()
        tars = sorted(tar for tar in found if tar.suffix == ".tar")
    if not tars:
        raise UserError("there are no tars here.", where=source, do="Give a folder, a glob or the path of a tar.")
    return tars


def _recorded(path: Path) -> list[Shard]:
    try:
        return [Shard(tar, Stamp(*stamp), samples) for tar, stamp, samples in json.loads(path.read_bytes())]
    except (OSError, ValueError, TypeError):
        return []


def _indexed_before(tar: str, stamp: Stamp) -> Shard | None:
    index = read_index(index_path(Path(tar)))
    if index is None or (index.stamp != stamp and asked_again()):
        return None
    if index.stamp != stamp:
        raise changed(tar, index.stamp, stamp)
    return Shard(tar, stamp, index.samples)


def _index(tars: Sequence[str], processes: int | None) -> Iterator[Shard]:
    broken: list[UserError] = []
    for result in _each(tars, min(processes or min(os.cpu_count() or 1, MOST_PROCESSES), len(tars))):
        if isinstance(result, Shard):
            yield result
        else:
            broken.append(result)
    if broken:
        others = f" {len(broken) - 1} more cannot be read either." if broken[1:] else ""
        raise UserError(f"{broken[0].what}{others}", where=broken[0].where, do=broken[0].do)


def _each(tars: Sequence[str], processes: int) -> Iterator[Shard | UserError]:
    if processes <= 1 or len(tars) <= FEW or current_process().daemon:  # daemons may not have children
        yield from map(_attempt, tars)
        return
    # Forked, because a process that is started anew would run the user's own script again.
    with ProcessPoolExecutor(processes, get_context("fork"), _start) as pool:
        yield from pool.map(_attempt, tars)


def _start() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # A parent that is killed tells nobody, and its processes would wait for tars for ever.
    if parent := parent_process():
        parent.join()
        os._exit(1)


def _attempt(tar: str) -> Shard | UserError:
    try:
        index = write_index(Path(tar))
    except UserError as error:
        return error
    return Shard(tar, index.stamp, index.samples)
