"""Indices: written once and whole, made by several processes, refused when the tar has changed."""

import os
import pickle
import shutil
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from mmbridge_image_tars import catalogue, shards
from mmbridge_image_tars.catalogue import find_tars, index_tars
from mmbridge_image_tars.index import HEADER, index_path, read_index
from mmbridge_registry import UserError
from mmbridge_registry.opening import opening


@pytest.fixture
def tars(write, make) -> list[Path]:
    return [write(make["img2dataset"](range(10 * n, 10 * n + 3 + n)), f"{n:05}.tar") for n in range(7)]


def times(tars: list[Path]) -> list[int]:
    return [index_path(tar).stat().st_mtime_ns for tar in tars]


def forget(cache: Path) -> None:
    """Drop the catalogue, as if these tars had never been opened together."""
    shutil.rmtree(cache / "tars")
    shards.open_tar.cache_clear()


@pytest.mark.parametrize("processes", [1, 3])
def test_indices_are_the_same_from_any_number_of_processes(processes: int, tars: list[Path]) -> None:
    told = []
    with opening(progress=lambda *said: told.append(said)):
        found = index_tars(tars, processes)
    assert [shard.samples for shard in found] == [3, 4, 5, 6, 7, 8, 9]
    assert told == [(n, 7, "tars") for n in range(1, 8)]
    assert [index_path(tar) for tar in tars] == [tar.with_name(f"{tar.name}.mmidx") for tar in tars]
    rows = np.memmap(index_path(tars[1]), "<i8", "r", offset=HEADER.size).reshape(-1, 6)
    assert rows.shape == (4, 6)
    assert rows[0, 0] == 512
    content = tars[1].read_bytes()
    assert [content[row[4] : row[4] + row[5]] for row in rows] == [b"text 10", b"text 11", b"text 12", b"text 13"]
    assert not list(tars[0].parent.glob(".*"))


def test_what_was_finished_is_not_done_again(tars: list[Path], cache: Path) -> None:
    index_tars(tars[:4])
    before, told = times(tars[:4]), []
    with opening(progress=lambda *said: told.append(said)):
        index_tars(tars)
    assert told == [(5, 7, "tars"), (6, 7, "tars"), (7, 7, "tars")]
    assert times(tars[:4]) == before


def test_one_broken_tar_is_named_after_all_others_are_done(tars: list[Path]) -> None:
    tars[2].write_bytes(tars[2].read_bytes()[:3000])
    tars[5].write_bytes(b"")
    with pytest.raises(UserError, match=r"00002\.tar: it is cut short: .*byte \d+.* 1 more cannot be read"):
        index_tars(tars, processes=2)
    assert [read_index(index_path(tar)) is not None for tar in tars] == [n not in {2, 5} for n in range(7)]


def test_opening_again_reads_the_catalogue_only(tars: list[Path], monkeypatch) -> None:
    first = index_tars(tars)
    monkeypatch.setattr(catalogue, "read_index", lambda path: pytest.fail("an index was read"))
    assert index_tars(tars) == first


@pytest.mark.parametrize("with_catalogue", [True, False])
def test_a_tar_that_changed_is_refused(with_catalogue: bool, tars: list[Path], cache: Path) -> None:
    index_tars(tars)
    if not with_catalogue:
        forget(cache)
    with tars[3].open("ab") as tar:
        tar.write(bytes(512))
    with pytest.raises(UserError, match=r"00003\.tar: this tar has changed.*data index CONFIG --again"):
        index_tars(tars)
    with opening(again=True):
        assert index_tars(tars)[3].stamp.size == tars[3].stat().st_size
    index_tars(tars)


def test_what_the_message_says_helps(tars: list[Path], open_tars) -> None:
    open_tars()
    os.utime(tars[0], ns=(1, 1))
    with pytest.raises(UserError, match="another time of change"):
        open_tars()
    with opening(again=True):
        assert open_tars()[0].texts == ("caption 0",)


def test_a_tar_that_changes_during_a_run_stops_it(tars: list[Path], open_tars, write, make) -> None:
    dataset = open_tars()
    write(make["img2dataset"](range(50, 60)), "00000.tar")
    with pytest.raises(UserError, match=r"00000\.tar: this tar has changed"):
        dataset[0]
    tars[1].unlink()
    with pytest.raises(UserError, match=r"00001\.tar: this tar cannot be read"):
        dataset[3]


def test_a_tar_that_is_overwritten_while_it_is_open_gives_no_wrong_bytes(tars: list[Path], open_tars) -> None:
    dataset = open_tars()
    assert dataset[0].texts
    tars[0].write_bytes(b"x" * 20_000)
    with pytest.raises(ValueError, match="damaged"):
        dataset[1]
    tars[0].write_bytes(b"")
    with pytest.raises(ValueError, match="the tar ends before"):
        dataset[1]


@pytest.mark.parametrize("damage", ["gone", "cut", "other version", "empty"])
def test_damaged_indices_are_made_anew(damage: str, tars: list[Path], open_tars, cache: Path) -> None:
    dataset = open_tars()
    path = index_path(tars[2])
    whole = path.read_bytes()
    path.unlink()
    if damage != "gone":
        path.write_bytes({"cut": whole[:-8], "other version": whole[:7] + b"\x09" + whole[8:], "empty": b""}[damage])
    shards.open_tar.cache_clear()
    assert dataset[7].texts == ("caption 20",)  # in a worker, which has the catalogue in memory
    assert path.read_bytes() == whole
    path.unlink()
    forget(cache)
    assert open_tars()[7].texts == ("caption 20",)


def test_read_only_folders_have_their_indices_in_the_cache(
    tars: list[Path], open_tars, cache: Path, monkeypatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert open_tars()[0].texts == ("caption 0",)
    assert not list(tars[0].parent.glob("*.mmidx"))
    assert len(list((cache / "tars").glob("*.mmidx"))) == 7
    assert pickle.loads(pickle.dumps(open_tars()))[3].texts == ("caption 10",)


def test_a_cache_that_cannot_be_written(tars: list[Path], monkeypatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MMBRIDGE_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"cannot be written.*MMBRIDGE_CACHE"):
        index_tars(tars)


def test_processes_that_ask_at_once_index_once(tars: list[Path]) -> None:
    with get_context("fork").Pool(4) as pool:
        results = pool.map(index_tars, [tars] * 4)
    assert all(result == results[0] for result in results)
    assert not [path for path in tars[0].parent.iterdir() if path.name.startswith(".")]


def test_a_folder_whose_name_looks_like_a_glob(tmp_path: Path, tars: list[Path]) -> None:
    odd = tmp_path / "set[1]"
    tars[0].parent.rename(odd)
    assert [tar.name for tar in find_tars(str(odd))] == [tar.name for tar in tars]
