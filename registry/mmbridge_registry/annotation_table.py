"""Annotations as a memory-mapped Arrow table, which is written once per content of the files that it comes from."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b, file_digest
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmbridge_registry.cache import alone, cache_folder, writing_cache
from mmbridge_registry.errors import UserError
from mmbridge_registry.opening import say_progress

if TYPE_CHECKING:
    from datasets import Dataset as ArrowTable

COLUMNS = 3
"""Version of the tables' columns; a higher one makes all of them anew."""
ROWS = 1000
"""Rows that are written at a time."""


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
    from datasets import Dataset
    from datasets.table import MemoryMappedTable

    files = {option: source, **(also or {})}
    for name, file in files.items():
        if not file.is_file():
            do = f"Correct `{name}`; files that were published come by `mmbridge fetch`."
            raise UserError("there is no such annotation file.", where=file, do=do)
    key = _key(files.values(), layout)
    path = cache_folder() / "annotations" / f"{key}.arrow"
    if not path.is_file():
        with alone(path):
            if not path.is_file():  # another process may have written it meanwhile
                _write(path, _some(read(source), source))
    return Dataset(MemoryMappedTable.from_file(str(path)), fingerprint=key)


def numbered(name: str) -> int:
    """Turn a name into a number of 63 bits."""
    return int.from_bytes(blake2b(name.encode(errors="replace"), digest_size=8).digest(), "big") >> 1


def _write(path: Path, annotations: Iterator[Annotation]) -> None:
    """Write a table under another name, batch by batch, then rename it."""
    import pyarrow
    from pyarrow.ipc import new_stream

    text, texts = pyarrow.string(), pyarrow.list_(pyarrow.string())
    types = {"image": text, "texts": texts, "question": text, "answers": texts}
    schema = pyarrow.schema(types | {"image_id": pyarrow.int64(), "facts": text})
    unfinished, written = path.with_suffix(".part"), 0
    with writing_cache():
        file = unfinished.open("wb")
    with file, new_stream(file, schema) as stream:
        while rows := [_row(annotation) for annotation in islice(annotations, ROWS)]:
            with writing_cache():
                stream.write_batch(pyarrow.RecordBatch.from_pylist(rows, schema))
            written += len(rows)
            say_progress(written, None, "records")
    with writing_cache():
        unfinished.replace(path)


def _some(annotations: Iterator[Annotation], source: Path) -> Iterator[Annotation]:
    first = next(annotations, None)
    if first is None:
        raise UserError("there are no records in it.", where=source)
    return chain([first], annotations)


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
    return text if text.isascii() else text.encode(errors="replace").decode()


def _key(files: Iterable[Path], layout: str) -> str:
    key = blake2b(f"{COLUMNS} {layout}".encode(), digest_size=16)
    for source in files:
        try:
            with source.open("rb") as file:
                key.update(file_digest(file, lambda: blake2b(digest_size=16)).digest())
        except OSError as error:
            raise UserError(f"this file cannot be read ({error.strerror}).", where=source) from error
    return key.hexdigest()
