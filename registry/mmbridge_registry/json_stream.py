"""A JSON file of any size, piece by piece: what a file holds is seen from its content, not from its name."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from mmbridge_registry.errors import UserError

CHUNK = 1 << 20
"""Characters that are read at a time."""
BLANKS = re.compile(r"[ \t\r\n]*")
LONGEST_MARK = 16
"""Nothing this near to the end of what was read is certain: `-Infinity`, `\\ud83d` or `1.5e+3` may be cut in two."""
DECODER = json.JSONDecoder()


class NotJsonError(UserError):
    """A file that is neither JSON nor JSONL, or broken."""


class Piece(NamedTuple):
    """A part of a JSON file that is read at once."""

    key: str | None
    """Key of the outermost object that it stands under; None in a list and in JSONL."""
    value: Any
    line: int
    """The line of the file that it begins on."""


def json_pieces(source: Path) -> Iterator[Piece]:
    """Read the lines of a JSONL file, the items of a list, or the members of an object, one at a time.

    A member that is a list is opened: each of its items is a piece under the member's key. So `{"images": [...],
    "annotations": [...]}` needs no more memory than its largest item. A byte-order mark is skipped.

    Raises:
        NotJsonError: it is neither; the message has the line.
        UserError: it is not UTF-8.
    """
    try:
        with source.open(encoding="utf-8-sig") as file:
            lines = _holds_lines(file)
            file.seek(0)
            yield from _lines(file, source) if lines else _Scanner(file, source).pieces()
    except UnicodeDecodeError as error:
        raise UserError(f"this is not UTF-8 ({error.reason}).", where=source, do="Save it as UTF-8.") from error


def _holds_lines(file: TextIO) -> bool:
    """Tell if the first line is whole and another follows."""
    first = ""
    while not first.strip():
        first = file.readline(CHUNK)
        if not first:
            return False
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        return False
    return any(line.strip() for line in file)


def _lines(file: TextIO, source: Path) -> Iterator[Piece]:
    for number, line in enumerate(file, start=1):
        if line.strip():
            try:
                yield Piece(None, json.loads(line), number)
            except (ValueError, RecursionError) as error:
                raise _not_json(error, source, number) from error


class _Scanner:
    """Values of a JSON text that is never held whole."""

    def __init__(self, file: TextIO, source: Path) -> None:
        self.file, self.source = file, source
        self.text, self.at = "", 0
        self.line, self.counted = 1, 0

    def pieces(self) -> Iterator[Piece]:
        opening = self._next()
        if opening == "[":
            yield from self._items(None)
        elif opening == "{":
            yield from self._members()
        else:
            yield Piece(None, self._value(), 1)
        if self._next():
            raise self._error("something stands after its end")

    def _items(self, key: str | None) -> Iterator[Piece]:
        for _ in self._places("[", "]"):
            line = self._line()
            yield Piece(key, self._value(), line)

    def _members(self) -> Iterator[Piece]:
        for _ in self._places("{", "}"):
            key, line = self._value(), self._line()
            if not isinstance(key, str):
                raise self._error("a key must be a text")
            self._take(":")
            if self._next() == "[":
                yield from self._items(key)
            else:
                yield Piece(key, self._value(), line)

    def _places(self, opening: str, closing: str) -> Iterator[None]:
        """Stop at every place of a list or object where a value or a member begins."""
        self._take(opening)
        mark = self._next()
        while mark != closing:
            yield
            mark = self._next()
            if mark != closing:
                self._take(",")
                mark = self._next()
                if mark == closing:
                    raise self._error("a value is missing after the comma")
        self._take(closing)

    def _next(self) -> str:
        """Move to the next character that is no blank, and give it; nothing at the end."""
        if (mark := self.text[self.at : self.at + 1]) and mark not in " \t\r\n":  # asked for several times per value
            return mark
        while True:
            blanks = BLANKS.match(self.text, self.at)
            self.at = blanks.end() if blanks else self.at
            if self.at < len(self.text) or not self._more():
                return self.text[self.at : self.at + 1]

    def _take(self, mark: str) -> None:
        if (found := self._next()) != mark:
            raise self._error(f"'{mark}' is expected, not '{found}'" if found else f"it ends before a '{mark}'")
        self.at += 1

    def _value(self) -> Any:
        self._next()
        while True:
            try:
                value, end = DECODER.raw_decode(self.text, self.at)
            except (ValueError, RecursionError) as error:
                if self._certain(error) or not self._more():
                    raise _not_json(error, self.source, self._line()) from error
                continue
            if end + LONGEST_MARK < len(self.text) or not self._more():
                self.at = end
                return value

    def _certain(self, error: Exception) -> bool:
        if not isinstance(error, json.JSONDecodeError):
            return True
        return not error.msg.startswith("Unterminated") and error.pos + LONGEST_MARK < len(self.text)

    def _more(self) -> bool:
        """Read on and forget what is behind; places in the text shift. False and nothing else at the end."""
        # As much again as there is: a value that is larger than a chunk is parsed anew a few times only.
        new = self.file.read(max(CHUNK, len(self.text) - self.at))
        if new:
            self._line()
            self.text, self.at, self.counted = self.text[self.at :] + new, 0, 0
        return bool(new)

    def _line(self) -> int:
        self.line += self.text.count("\n", self.counted, self.at)
        self.counted = self.at
        return self.line

    def _error(self, cause: str) -> NotJsonError:
        return _not_json(cause, self.source, self._line())


def _not_json(cause: object, source: Path, line: int) -> NotJsonError:
    return NotJsonError(f"this is not JSON ({cause}).", where=f"{source}:{line}")
