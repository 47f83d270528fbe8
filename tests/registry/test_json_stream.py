"""A file read piece by piece is the file that `json` reads at once, wherever a chunk of it ends."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmbridge_registry import UserError, json_stream
from mmbridge_registry.json_stream import json_pieces
from toys.annotation_files import write

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6)
KEYS = st.text(max_size=3)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)
SAME_FILE = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def pieces(path: Path) -> list[tuple[str | None, Any]]:
    return [(key, value) for key, value, _ in json_pieces(path)]


def expected(value: Any) -> list[tuple[str | None, Any]]:
    if isinstance(value, list):
        return [(None, item) for item in value]
    if not isinstance(value, dict):
        return [(None, value)]
    opened = ((key, inner if isinstance(inner, list) else [inner]) for key, inner in value.items())
    return [(key, item) for key, items in opened for item in items]


@given(value=VALUES, indent=st.sampled_from([None, 1]), ascii_only=st.booleans(), chunk=st.integers(1, 40))
@SAME_FILE
def test_any_value_in_chunks_of_any_size(value, indent, ascii_only: bool, chunk: int, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(json_stream, "CHUNK", chunk)
    path = write(tmp_path / "a.json", json.dumps(value, indent=indent, ensure_ascii=ascii_only))
    assert pieces(path) == expected(value)


@given(rows=st.lists(st.dictionaries(st.text(max_size=3), SCALARS, max_size=3), min_size=2, max_size=4))
@SAME_FILE
def test_lines(rows: list[dict], tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", "\ufeff" + "\r\n\r\n".join(map(json.dumps, rows)))
    assert pieces(path) == [(None, row) for row in rows]


@given(value=st.lists(VALUES, min_size=1, max_size=3), cut=st.integers(1, 1000), chunk=st.integers(1, 40))
@SAME_FILE
def test_a_file_that_is_cut_short_never_passes_for_whole(value, cut: int, chunk: int, tmp_path, monkeypatch) -> None:
    text = json.dumps(value)
    monkeypatch.setattr(json_stream, "CHUNK", chunk)
    path = write(tmp_path / "a.json", text[: -1 - cut % (len(text) - 1)])
    with pytest.raises(UserError, match="not JSON"):
        pieces(path)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('[\n{"a": 1},\n{"a": }\n]', 3),
        ('[\n{"a": 1}\n{"a": 2}\n]', 3),
        ('{"a": [1,\n2,\n]}', 3),
        ("[1]\n\n[2] x", 3),
        ('{"images": [1]\n"x": 2}', 2),
        ("[" * 100_000, 1),
        ('{"a": 1,}', 1),
    ],
)
def test_the_line_of_an_error_is_named(text: str, line: int, tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", text)
    with pytest.raises(UserError, match=rf"a\.json:{line}: this is not JSON"):
        pieces(path)


def test_pieces_know_their_lines(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(json_stream, "CHUNK", 7)
    path = write(tmp_path / "a.json", json.dumps([{"a": number} for number in range(50)], indent=1))
    assert [piece.line for piece in json_pieces(path)] == [2 + 3 * number for number in range(50)]


def test_an_error_far_from_the_end_is_told_without_reading_on(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(json_stream, "CHUNK", 64)
    path = write(tmp_path / "a.json", '[{"a": oops},\n' + "1,\n" * 100_000 + "1]")
    read = 0

    class Counting(json_stream._Scanner):
        def _more(self) -> bool:
            nonlocal read
            read += 1
            return super()._more()

    monkeypatch.setattr(json_stream, "_Scanner", Counting)
    with pytest.raises(UserError, match=r"a\.json:1:"):
        pieces(path)
    assert read < 4
