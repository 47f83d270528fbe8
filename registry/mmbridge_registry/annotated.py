"""A kit for dataset plugins whose data is annotations in a file and images in a folder.

A plugin reads its own file format and yields one `Annotation` per record; the rest is here: a memory-mapped Arrow
table that is written once per content of the file, images below a root, and messages for what is wrong.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b, file_digest
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from mmbridge_registry.dataset import Dataset
from mmbridge_registry.errors import UserError
from mmbridge_registry.record import Record

if TYPE_CHECKING:
    from datasets import Dataset as ArrowTable

CACHE = "MMBRIDGE_CACHE"
"""Environment variable that names the cache folder; without it, the user's own."""
FIRST_LOOK = 32
"""Images that are looked for before a run begins."""
COLUMNS = 2
"""Version of the tables' columns; a higher one makes all of them anew."""


@dataclass(frozen=True)
class Annotation:
    """What a file says of one record."""

    image: str
    """Path of the image, relative to the root."""
    texts: Sequence[str] = ()
    question: str | None = None
    answers: Sequence[str] = ()
    image_id: int | None = None
    """Same number, same image; None numbers images by their paths."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """`Record.facts`; what JSON can hold."""


class OutsideError(ValueError):
    """A path that leads out of the folder of its data set."""


@dataclass(frozen=True)
class ImageRoot:
    """The folder below which all images of a dataset lie."""

    folder: Path
    allow_absolute: bool = False
    """Also take absolute paths, and paths that leave the folder."""
    among: tuple[str, ...] = ("",)
    """Folders inside it, in one of which an image lies; the first that has it is taken."""

    def find(self, image: str) -> Path:
        """Give the path of an image.

        Raises:
            OutsideError: it is absolute or leads out of the folder, and that is not allowed.
        """
        path = PurePath(image)
        if not self.allow_absolute and (path.is_absolute() or ".." in path.parts):
            raise OutsideError(f"'{image}' leads out of the image folder {self.folder}")
        places = [self.folder / inside / path for inside in self.among]
        return places[0] if len(places) == 1 else next((place for place in places if place.exists()), places[0])

    def look(self, images: Sequence[str]) -> None:
        """Look for a few images before a run begins.

        Raises:
            UserError: there is no such folder, a path leads out of it, or none of the images is there.
        """
        if not self.folder.is_dir():
            raise UserError("there is no such image folder.", where=self.folder, do="Correct `images`.")
        try:
            found = [self.find(image).exists() for image in images]
        except (OSError, ValueError) as error:
            do = "Write relative paths, or set `allow_absolute: true` if you trust the file."
            raise UserError(f"{error}.", do=do) from error
        if not any(found):
            what = f"0 of the first {len(found)} images exist below it (the first is '{images[0]}')."
            raise UserError(what, where=self.folder, do="Set `images` to the folder that these paths start from.")


class AnnotatedImages(Dataset):
    """Records of a memory-mapped table; pickled it is two paths."""

    def __init__(self, table: "ArrowTable", root: ImageRoot) -> None:
        """Join a table (`open_table`) with the folder of its images.

        Raises:
            UserError: see `ImageRoot.look`.
        """
        root.look(table[:FIRST_LOOK]["image"])
        self.table = table
        self.root = root

    def __len__(self) -> int:
        return len(self.table)

    def read(self, index: int) -> Record:
        row = self.table[index]
        return Record(
            image=self.root.find(row["image"]),
            texts=tuple(row["texts"]),
            question=row["question"],
            answers=tuple(row["answers"]),
            image_id=row["image_id"],
            name=row["image"],
            facts=json.loads(row["facts"] or "{}"),
        )


def open_table(
    source: Path,
    layout: str,
    read: Callable[[Path], Iterator[Annotation]],
    *,
    option: str = "annotations",
    also: Mapping[str, Path] | None = None,
) -> "ArrowTable":
    """Open the Arrow table of an annotation file; `read` is called only if there is none for this content yet.

    `layout` names the reader, its version and the options that change what it yields: with the content of the file it
    is the key of the cache, and so is the content of the files that are `also` read. The option that names the source,
    and those that name the others, stand in messages. Processes that ask at once wait for one that writes; a table
    appears whole or not at all.

    Raises:
        UserError: there is no such file, it has no records, the cache cannot be written, or what `read` raises.
    """
    import datasets
    from datasets.exceptions import DatasetGenerationError

    files = {option: source, **(also or {})}
    for name, file in files.items():
        if not file.is_file():
            raise UserError("there is no such annotation file.", where=file, do=f"Correct `{name}`.")
    features = datasets.Features(
        {
            "image": datasets.Value("string"),
            "texts": datasets.List(datasets.Value("string")),
            "question": datasets.Value("string"),
            "answers": datasets.List(datasets.Value("string")),
            "image_id": datasets.Value("int64"),
            "facts": datasets.Value("string"),
        }
    )
    datasets.disable_progress_bars()
    key = _key(files.values(), layout)
    try:
        return datasets.Dataset.from_generator(
            lambda: _rows(read(source), source),
            features=features,
            cache_dir=str(cache_folder() / "annotations"),
            fingerprint=key,
        )
    except DatasetGenerationError as error:
        raise error.__cause__ or error from None
    except OSError as error:
        raise UserError(f"the cache cannot be written ({error}).", where=cache_folder(), do=f"Set {CACHE}.") from error


def cache_folder() -> Path:
    """Give the folder for what can be made again: `$MMBRIDGE_CACHE`, or else in the user's cache folder."""
    if CACHE in os.environ:
        return Path(os.environ[CACHE])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mmbridge"


def _rows(annotations: Iterator[Annotation], source: Path) -> Iterator[dict[str, Any]]:
    first = next(annotations, None)
    if first is None:
        raise UserError("there are no records in it.", where=source)
    yield _row(first)
    yield from map(_row, annotations)


def _row(annotation: Annotation) -> dict[str, Any]:
    number = numbered(annotation.image) if annotation.image_id is None else annotation.image_id
    return {
        "image": _sound(annotation.image),
        "texts": [_sound(text) for text in annotation.texts],
        "question": None if annotation.question is None else _sound(annotation.question),
        "answers": [_sound(answer) for answer in annotation.answers],
        "image_id": number,
        "facts": json.dumps(annotation.facts) if annotation.facts else None,
    }


def _sound(text: str) -> str:
    # JSON may hold halves of surrogate pairs, and web captions do; UTF-8 and Arrow cannot.
    return text.encode(errors="replace").decode()


def numbered(name: str) -> int:
    """Turn a name into a number of 63 bits."""
    return int.from_bytes(blake2b(name.encode(errors="replace"), digest_size=8).digest(), "big") >> 1


def numbered_id(image_id: Any) -> int | None:
    """Keep a number, turn any other name of an image into one; None and nothing name none."""
    if image_id in (None, ""):
        return None
    name = str(image_id)
    return int(name) if name.isdecimal() and len(name) < 19 else numbered(name)


def _key(files: Iterable[Path], layout: str) -> str:
    key = blake2b(f"{COLUMNS} {layout}".encode(), digest_size=16)
    for source in files:
        try:
            with source.open("rb") as file:
                key.update(file_digest(file, lambda: blake2b(digest_size=16)).digest())
        except OSError as error:
            raise UserError(f"this file cannot be read ({error.strerror}).", where=source) from error
    return key.hexdigest()
