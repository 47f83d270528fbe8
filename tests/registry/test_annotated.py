"""The kit for annotation files: tables are written once per content, whole or not at all."""

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mmbridge_registry import UserError
from mmbridge_registry.annotated import Annotation, cache_folder, numbered, open_table
from mmbridge_registry.annotation_table import ROWS
from mmbridge_registry.opening import opening

RACE = """
import sys
from pathlib import Path
from mmbridge_registry.annotated import Annotation, open_table

def read(source):
    print("read", flush=True)
    for line in source.read_text().split():
        yield Annotation(line, (line,))

print(len(open_table(Path(sys.argv[1]), "v1", read)))
"""

KILLED = """
import os, signal, sys
from pathlib import Path
from mmbridge_registry.annotated import Annotation, open_table

def read(source):
    for number in range(1500):
        yield Annotation(str(number))
    os.kill(os.getpid(), signal.SIGKILL)

open_table(Path(sys.argv[1]), "v1", read)
"""


@pytest.fixture
def source(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("MMBRIDGE_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "annotations.txt"
    path.write_text("a b c")
    return path


@pytest.fixture
def reader():
    class Reader:
        calls = 0

        def __call__(self, source: Path) -> Iterator[Annotation]:
            self.calls += 1
            return (Annotation(word, (word,)) for word in source.read_text().split())

    return Reader()


def test_a_table_is_written_once_per_content_and_layout(source: Path, reader) -> None:
    assert open_table(source, "v1", reader)["image"][:] == ["a", "b", "c"]
    moved = source.rename(source.with_name("moved.txt"))
    open_table(moved, "v1", reader)
    assert reader.calls == 1
    open_table(moved, "v2", reader)
    assert reader.calls == 2
    moved.write_text("a b c d")
    assert len(open_table(moved, "v1", reader)) == 4
    assert reader.calls == 3


def test_a_reader_that_fails_leaves_no_table_behind(source: Path, reader) -> None:
    def fails(source: Path) -> Iterator[Annotation]:
        yield Annotation("a")
        raise UserError("the second row is bad", where=source)

    for _ in range(2):
        with pytest.raises(UserError, match=r"^.*annotations\.txt: the second row is bad$"):
            open_table(source, "v1", fails)
    assert len(open_table(source, "v1", reader)) == 3


def test_the_cache_lies_where_the_environment_says(tmp_path: Path, source: Path, reader, monkeypatch) -> None:
    open_table(source, "v1", reader)
    assert list((tmp_path / "cache").rglob("*.arrow"))
    monkeypatch.delenv("MMBRIDGE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "mmbridge"


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path, source: Path, reader, monkeypatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MMBRIDGE_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"cache cannot be written.*Set MMBRIDGE_CACHE"):
        open_table(source, "v1", reader)


def test_a_reader_that_is_killed_leaves_no_table_behind(source: Path, reader) -> None:
    """After the first batch is on disk."""
    killed = subprocess.run([sys.executable, "-c", KILLED, str(source)], env=os.environ, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert list(cache_folder().rglob("*.part")) and not list(cache_folder().rglob("*.arrow"))
    assert len(open_table(source, "v1", reader)) == 3
    assert not list(cache_folder().rglob("*.part"))


def test_rows_come_back_as_they_were_written(source: Path) -> None:
    """More than one batch, with everything that a row may hold."""
    odd = Annotation("a.jpg", ("ä", "\ud83d"), "Why?", ("yes", "\u2028"), 7, {"box": [1, 2], "name": "ö"})
    table = open_table(source, "odd", lambda _: iter([Annotation(f"{n}") for n in range(ROWS + 5)] + [odd]))
    assert len(table) == ROWS + 6
    assert table[ROWS + 4] == {
        "image": f"{ROWS + 4}", "texts": [], "question": None, "answers": [], "image_id": numbered(f"{ROWS + 4}"),
        "facts": None,
    }  # fmt: skip
    assert table[ROWS + 5] == {
        "image": "a.jpg", "texts": ["ä", "?"], "question": "Why?", "answers": ["yes", "\u2028"], "image_id": 7,
        "facts": '{"box": [1, 2], "name": "\\u00f6"}',
    }  # fmt: skip
    assert pickle.loads(pickle.dumps(table))[3]["image"] == "3" and len(pickle.dumps(table)) < 5000


def test_how_far_it_is(source: Path) -> None:
    told = []
    with opening(progress=lambda *said: told.append(said)):
        open_table(source, "told", lambda _: (Annotation(str(n)) for n in range(ROWS + 5)))
        assert told == [(ROWS, None, "records"), (ROWS + 5, None, "records")]
        open_table(source, "told", lambda _: pytest.fail("it was read again"))
    assert len(told) == 2


def test_two_processes_write_one_table(source: Path) -> None:
    command = [sys.executable, "-c", RACE, str(source)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) for _ in range(2)]
    said = [process.communicate(timeout=300)[0].split() for process in both]
    assert [words[-1] for words in said] == ["3", "3"]
    assert sum(words.count("read") for words in said) == 1
