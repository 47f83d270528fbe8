"""Rows of a JSON, JSONL, CSV or TSV file, with the line each begins on."""

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmbridge_registry.errors import UserError
from mmbridge_registry.json_stream import CHUNK, json_pieces


@dataclass(frozen=True)
class Row:
    """One row: values by column."""

    line: int
    values: dict[str, Any]
    flat: bool = False
    """From CSV or TSV, where every value is a text."""
    key: str | None = None
    """Its key in an object of rows, `{id: {...}}`."""

    def several(self, column: str) -> list[str]:
        """Give the texts of a column: one, or a list of them (in CSV and TSV as JSON); empty ones are none."""
        value = self.values.get(column)
        if isinstance(value, str) and self.flat and value.startswith("["):
            value = _parsed(value)
        return [str(text) for text in (value if isinstance(value, list) else [value]) if text not in (None, "")]


def read_rows(source: Path) -> Iterator[Row]:
    """Read the rows of a file one at a time; its first character and its header line say what it is.

    Raises:
        UserError: a row does not fit the header, or the file is broken; the message has the line.
    """
    try:
        with source.open(encoding="utf-8-sig", newline="") as file:
            head = next((line for line in file if line.strip()), "").lstrip()
        if not head:
            raise UserError("the file is empty.", where=source)
        yield from _objects(source) if head[0] in "[{" else _cells(source, tabs="\t" in head)
    except UnicodeDecodeError as error:
        raise UserError(f"this is not UTF-8 ({error.reason}).", where=source, do="Save it as UTF-8.") from error


def _objects(source: Path) -> Iterator[Row]:
    if lone := _lone_row(source):
        yield Row(1, lone)
        return
    for piece in json_pieces(source):
        if not isinstance(piece.value, dict):
            raise UserError(f"this is a {type(piece.value).__name__}, not an object.", where=f"{source}:{piece.line}")
        yield Row(piece.line, piece.value, key=piece.key)


def _lone_row(source: Path) -> dict[str, Any] | None:
    """Give the row of a file that is one object and no object of rows: JSONL of a single line."""
    if source.stat().st_size > CHUNK:
        return None
    try:
        value = json.loads(source.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError):
        return None
    is_row = isinstance(value, dict) and not all(isinstance(inner, dict | list) for inner in value.values())
    return value if is_row else None


def _cells(source: Path, tabs: bool) -> Iterator[Row]:
    with source.open(encoding="utf-8-sig", newline="") as file:
        lines = _tab_separated(file) if tabs else _comma_separated(file, source)
        _, header = next(lines)
        for number, cells in lines:
            if len(cells) != len(header):
                what = f"this row has {len(cells)} columns, the header {len(header)} ({', '.join(header)})."
                raise UserError(what, where=f"{source}:{number}")
            yield Row(number, dict(zip(header, cells, strict=True)), flat=True)


def _comma_separated(file: Iterable[str], source: Path) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(file, strict=True)
    try:
        yield from ((reader.line_num, cells) for cells in reader if cells)
    except csv.Error as error:
        raise UserError(f"this is not CSV ({error}).", where=f"{source}:{reader.line_num}") from error


def _tab_separated(file: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(file, start=1):
        if line.strip():
            yield number, [_unquoted(cell) for cell in line.rstrip("\r\n").split("\t")]


def _unquoted(cell: str) -> str:
    # Not csv's quoting: web captions are full of lone quotes, each of which would swallow the lines that follow.
    if len(cell) >= 2 and cell[0] == cell[-1] == '"':
        return cell[1:-1].replace('""', '"')
    return cell


def _parsed(cell: str) -> Any:
    try:
        return json.loads(cell)
    except ValueError:
        return cell
