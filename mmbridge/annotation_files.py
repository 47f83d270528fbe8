"""Annotation files: those that a config names and that are not here, got from where they are published."""

import fcntl
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path, PurePosixPath
from shutil import copyfile
from urllib.parse import urlsplit

from mmbridge_registry import Catalog, MmbridgeError, PublishedFile, UserError
from mmbridge_registry.options import AnnotationFileMark

from mmbridge.archives import extract, is_archive
from mmbridge.downloads import download
from mmbridge.marked import marked
from mmbridge.recipe import Declared

Progress = Callable[[str, int, int | None], None]
"""Is told of an address how many bytes are here, and how many there are (None: the server does not say)."""


@dataclass(frozen=True)
class Missing:
    """An annotation file that is not where the config says."""

    path: Path
    where: str
    """File, line and key of the config."""
    source: PublishedFile | None
    """Where it is published; None if no plugin knows."""


@dataclass(frozen=True)
class Fetched:
    """An annotation file that is here now."""

    path: Path
    url: str
    checksum: str
    published: bool
    """The checksum is a published one; else it is that of what came first, and stands in `<path>.sha256`."""


def missing(recipe: Declared, catalog: Catalog) -> list[Missing]:
    """List the annotation files that a recipe names and that are not here, each once."""
    named = {named.value: named.where for part in recipe.parts() for named in marked(part, AnnotationFileMark)}
    absent = {path: where for path, where in named.items() if not path.exists()}
    return [Missing(path, where, catalog.published(path.name, where)) for path, where in absent.items()]


def fetch(wanted: Iterable[Missing], progress: Progress) -> Iterator[Fetched | MmbridgeError]:
    """Get files that are published; give each as soon as it is here, or why it cannot be got.

    An address that several files come from is downloaded once. A file whose checksum is another than the published
    one, or than the one that was recorded when it came first, is not kept.
    """
    by_address: dict[str, dict[Path, PublishedFile]] = {}
    for one in wanted:
        if one.source is not None:
            by_address.setdefault(one.source.url, {})[one.path] = one.source
    for url, files in by_address.items():
        first = next(iter(files))
        part = first.with_name(f"{PurePosixPath(urlsplit(url).path).name}.part")
        try:
            with _alone(part):
                _download(url, part, files[first].checksum, progress)
                for path, source in files.items():
                    yield _publish(part, path, source)
                _forget(part)
        except MmbridgeError as error:
            yield error


def _download(url: str, part: Path, expected: str | None, progress: Progress) -> None:
    download(url, part, lambda done, total: progress(url, done, total))
    found = expected and _checksum(part, expected.partition(":")[0])
    if found != expected:
        _forget(part)
        what = f"what came has the checksum {found}, not the published {expected}: it is not kept."
        raise UserError(what, where=url, do="Run the command again; if it stays so, the file there is another one.")


def _publish(part: Path, path: Path, source: PublishedFile) -> Fetched:
    """Bring a file under its name, out of the archive if it came in one."""
    unnamed, kind = path.with_name(f"{path.name}.unnamed"), urlsplit(source.url).path
    path.parent.mkdir(parents=True, exist_ok=True)
    if is_archive(kind):
        extract(part, kind, source.name, unnamed)
    else:
        copyfile(part, unnamed)  # not renamed: the config may want it in several places
    checksum = source.checksum or _first_seen(unnamed, path)
    unnamed.replace(path)
    return Fetched(path, source.url, checksum, source.checksum is not None)


def _first_seen(unnamed: Path, path: Path) -> str:
    """Record the checksum of a file without a published one, as `sha256sum` does, or compare it with the record."""
    record = path.with_name(f"{path.name}.sha256")
    found = _checksum(unnamed, "sha256")
    digest = found.partition(":")[2]
    if not record.exists():
        record.write_text(f"{digest}  {path.name}\n")
    elif record.read_text().split()[:1] != [digest]:
        unnamed.unlink()
        what = f"what came has another SHA-256 ({digest}) than {record} says: it is not kept."
        raise UserError(what, where=path, do="If the new file is the one you want, delete that record.")
    return found


def _checksum(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return f"{algorithm}:{file_digest(file, algorithm).hexdigest()}"


def _forget(part: Path) -> None:
    for path in (part, part.with_name(f"{part.name}.tag")):
        path.unlink(missing_ok=True)


@contextmanager
def _alone(part: Path) -> Iterator[None]:
    """Keep a second `fetch` from writing the same file."""
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
    except BlockingIOError as error:
        raise UserError("another command is fetching it.", where=part, do="Wait for it to end.") from error
    except OSError as error:
        raise UserError(f"it cannot be written ({error.strerror or error}).", where=part, do="Make room.") from error
    finally:
        if part.exists() and not part.stat().st_size:
            _forget(part)
