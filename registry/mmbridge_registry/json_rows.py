"""JSON or one JSON value per line: what a file holds is seen from its content, not from its name."""

import json
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, TextIO

from mmbridge_registry.errors import UserError


def json_rows(source: Path) -> Iterator[Any]:
    """Give the lines of a JSONL file one by one, or the single value of a JSON file. A byte-order mark is skipped.

    Raises:
        UserError: it is neither, or not UTF-8; the message has the line.
    """
    with source.open(encoding="utf-8-sig") as file:
        try:
            first = list(islice(_lines(file), 2))
            if len(first) == 2 and _is_whole(first[0][1]):
                for number, line in chain(first, _lines(file, start=first[1][0] + 1)):
                    yield _parse(line, source, number)
                return
            file.seek(0)
            yield _parse(file.read(), source)
        except UnicodeDecodeError as error:
            raise UserError(f"this is not UTF-8 ({error.reason}).", where=source, do="Save it as UTF-8.") from error


def _lines(file: TextIO, start: int = 1) -> Iterator[tuple[int, str]]:
    return ((number, line) for number, line in enumerate(file, start) if line.strip())


def _is_whole(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _parse(text: str, source: Path, line: int | None = None) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        where = source if line is None else f"{source}:{line}"
        raise UserError(f"this is not JSON ({error}).", where=where) from error
