"""Archives: one member, found by its name, written to a path of ours. Where a member says that it lies is not asked."""

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from shutil import copyfileobj
from typing import IO, cast
from zipfile import BadZipFile, ZipFile
from zlib import error as ZlibError

from mmbridge_registry import UserError

CHUNK = 1 << 20
KINDS = (".zip", ".tar.gz", ".tgz")


def is_archive(url: str) -> bool:
    """Tell by its name if an address gives an archive."""
    return url.endswith(KINDS)


def extract(archive: Path, kind: str, name: str, to: Path) -> None:
    """Write the only member that is called `name`, in whatever folder, to `to`; `kind` is a name that ends as KINDS do.

    Raises:
        UserError: there is none or several, the archive is damaged, or `to` cannot be written.
    """
    try:
        with _member(archive, kind.endswith(".zip"), name) as member, to.open("wb") as file:
            copyfileobj(member, file, CHUNK)
    except (BadZipFile, tarfile.TarError, ZlibError, EOFError, RuntimeError, NotImplementedError) as error:
        raise UserError(f"'{name}' cannot be taken out of this archive ({error}).", where=archive) from error
    except OSError as error:
        raise UserError(f"it cannot be written ({error.strerror or error}).", where=to, do="Make room.") from error


@contextmanager
def _member(archive: Path, zipped: bool, name: str) -> Iterator[IO[bytes]]:
    if zipped:
        with ZipFile(archive) as opened:
            member = _only([one.filename for one in opened.infolist()], name, archive)
            with opened.open(member) as file:
                yield file
    else:
        with tarfile.open(archive, "r:gz") as opened:
            members = {one.name: one for one in opened if one.isreg()}
            # A regular file always has content.
            with cast(IO[bytes], opened.extractfile(members[_only(list(members), name, archive)])) as file:
                yield file


def _only(members: list[str], name: str, archive: Path) -> str:
    found = [member for member in members if PurePosixPath(member).name == name and not member.endswith("/")]
    if len(found) != 1:
        what = f"{len(found)} members of this archive are called '{name}', not one."
        raise UserError(what, where=archive, do="Take the file out by hand.")
    return found[0]
