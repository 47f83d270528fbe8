"""Rows of a JSON, JSONL, CSV or TSV file, with the line each stands on."""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from mmbridge_registry import UserError
from mmbridge_registry.json_rows import json_rows


@dataclass(frozen=True)
class Row:
    """One row: values by column."""

    line: int
    """Line of the file, or running number in a JSON list."""
    values: dict[str, Any]
    flat: bool = False
    """From CSV or TSV, where every value is a text."""


def read_rows(source: Path) -> Iterator[Row]:
    """Read the rows of a file; its first character and its header line say what it is.

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
    for number, row in enumerate(chain.from_iterable(map(_flat, json_rows(source))), start=1):
        if not isinstance(row, dict):
            raise UserError(f"this is a {type(row).__name__}, not an object.", where=f"{source}:{number}")
        yield Row(number, row)


def _flat(value: Any) -> Iterable[Any]:
    """Open a list of rows, or a dict of rows by id."""
    if isinstance(value, dict) and value and all(isinstance(row, dict) for row in value.values()):
        return value.values()
    return value if isinstance(value, list) else [value]


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
