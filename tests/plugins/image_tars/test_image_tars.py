"""Samples: everything that img2dataset and CapFilt write, read back."""

import json
import os
import pickle
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from mmbridge_image_tars import ImageTarsOptions, build_image_tars, shards
from mmbridge_registry import UserError
from mmbridge_registry.testing import check_dataset

from mmbridge.data.images import decode


def test_img2dataset_output_in_completion_order(write, open_tars, make) -> None:
    first, second = ([*range(0, 30)], [*range(10_000, 10_020)])
    random.Random(0).shuffle(first)
    write(make["img2dataset"](first), "00000.tar")
    write(make["img2dataset"](second), "00001.tar")
    write(b"not read", "00000.parquet")
    write(b"{}", "00000_stats.json")
    dataset = open_tars()
    check_dataset(dataset)
    assert len(dataset) == 50
    assert dataset.blocks == [30, 20]
    for index, key in enumerate([*first, *second]):
        record = dataset[index]
        assert record.image == make["picture"](key)
        assert record.texts == (f"caption {key}",)
        assert record.name == f"{key:09}.jpg@{key // 10_000:05}.tar"
        assert record.facts == {"url": f"https://a.example/{key}.jpg", "width": 24 + key % 5, "height": 16}


def test_members_of_a_sample_may_lie_apart_and_in_any_order(write, open_tars, make) -> None:
    members = make["img2dataset"](range(20))
    random.Random(1).shuffle(members)
    write(members)
    dataset = open_tars()
    assert {(record.image, record.texts) for record in dataset} == {
        (make["picture"](key), (f"caption {key}",)) for key in range(20)
    }


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "png", "webp", "JPG"])
def test_image_suffixes(suffix: str, write, open_tars, make) -> None:
    kind = {"jpg": "JPEG", "JPG": "JPEG", "jpeg": "JPEG"}.get(suffix, suffix.upper())
    image = make["picture"](3, kind)
    write([("./0001.txt", b"a dog"), (f"./0001.{suffix}", image)])
    assert (open_tars()[0].image, open_tars()[0].texts) == (image, ("a dog",))


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


SAID = {
    "caption": ({"caption": "one"}, {}, ("one",)),
    "a list of captions": ({"caption": ["one", "two"]}, {}, ("one", "two")),
    "CapFilt": ({"captions": ["one", "two"], "scores": [0.2, 0.3]}, {}, ("one", "two")),
    "CapFilt, the best": ({"captions": ["one", "two"], "scores": [0.2, 0.3]}, {"best": 1}, ("two",)),
    "CapFilt beside a web caption": ({"caption": "web", "captions": ["two"]}, {}, ("two",)),
    "scores that do not fit": ({"captions": ["one", "two"], "scores": [0.2]}, {"best": 1}, ("one",)),
    "a bare list": (["one", "two", 3, None, ""], {}, ("one", "two")),
    "a bare list, the first": (["one", "two"], {"best": 1}, ("one",)),
    "a bare text": ("one", {}, ("one",)),
    "another field": ({"caption": "web", "top_caption": "top"}, {"caption_field": "top_caption"}, ("top",)),
    "no caption": ({"caption": None, "url": "x"}, {}, ("from txt",)),
    "no caption and no txt": ({"caption": None}, {"captions": "json"}, ()),
    "the txt": ({"caption": "web"}, {"captions": "txt"}, ("from txt",)),
    "half a surrogate pair": ({"caption": "a \ud83d dog"}, {}, ("a ? dog",)),
}


@pytest.mark.parametrize("case", SAID)
def test_captions(case: str, write, open_tars, make) -> None:
    said, options, expected = SAID[case]
    content = json.dumps(said).encode()
    write([("1.jpg", make["picture"](1)), ("1.json", content), ("1.txt", "\ufefffrom txt\n".encode())])
    assert open_tars(**options)[0].texts == expected


def test_scores_and_chosen_fields_are_facts(write, open_tars, make) -> None:
    said = {"captions": ["a", "b"], "scores": [0.5, 0.25], "url": "u", "similarity": 0.3}
    write([("1.jpg", make["picture"](1)), ("1.json", json.dumps(said).encode())])
    assert open_tars()[0].facts == {"scores": [0.5, 0.25], "url": "u"}
    assert open_tars(fields=["similarity"])[0].facts == {"similarity": 0.3}


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_broken_json_is_a_bad_record_that_names_itself(content: bytes, write, open_tars, make) -> None:
    write([("7.jpg", make["picture"](1)), ("7.json", content)])
    with pytest.raises(ValueError, match=r"7\.jpg@00000\.tar: its json cannot be read"):
        open_tars()[0]


def test_images_without_captions_are_samples_and_captions_without_images_are_none(write, open_tars, make) -> None:
    write([("1.jpg", make["picture"](1)), ("2.json", b"{}"), ("3.txt", b"x"), ("._4.jpg", b"x"), ("5.cls", b"5")])
    dataset = open_tars()
    assert len(dataset) == 1
    assert dataset[0].texts == ()


def test_of_two_members_with_one_name_the_later_counts(write, open_tars, make) -> None:
    write([("1.jpg", b"old"), ("1.txt", b"old"), ("1.jpg", make["picture"](1)), ("1.txt", b"new")])
    dataset = open_tars()
    assert len(dataset) == 1
    assert (dataset[0].image, dataset[0].texts) == (make["picture"](1), ("new",))


def test_folder_glob_path_and_list(tmp_path: Path, write, open_tars, make, monkeypatch) -> None:
    for number in range(3):
        write(make["img2dataset"]([number]), f"0000{number}.tar")
    tars = tmp_path / "tars"
    monkeypatch.chdir(tmp_path)
    for given, keys in [
        (str(tars), [0, 1, 2]),
        (str(tars / "*[12].tar"), [1, 2]),
        ("**/*", [0, 1, 2]),
        ("tars/00001.tar", [1]),
        ([str(tars / "00002.tar"), "tars"], [2, 0, 1]),
    ]:
        assert [record.texts for record in open_tars(tars=given)] == [(f"caption {key}",) for key in keys]


@pytest.mark.parametrize("given", ["nowhere", "nowhere/*.tar", "", "/"])
def test_no_tars(given: str, open_tars) -> None:
    with pytest.raises(UserError, match="there are no tars here"):
        open_tars(tars=given)


def test_no_images(write, open_tars) -> None:
    write([("1.txt", b"a")])
    with pytest.raises(UserError, match="no images in these tars"):
        open_tars()


def test_an_empty_shard_is_no_block(write, open_tars, make) -> None:
    write([], "00000.tar")
    write(make["img2dataset"]([5]), "00001.tar")
    assert open_tars().blocks == [1]


def test_few_tars_stay_open(write, open_tars, make, monkeypatch) -> None:
    for number in range(shards.MOST_OPEN + 20):
        write(make["img2dataset"]([number]), f"{number:05}.tar")
    dataset = open_tars()
    shards.open_tar.cache_clear()
    before = open_files()
    assert [record.texts[0] for record in dataset] == [f"caption {key}" for key in range(len(dataset))]
    assert open_files() - before == 2 * shards.MOST_OPEN
    shards.open_tar.cache_clear()
    assert open_files() == before


def test_threads_and_forked_processes_read_the_same(write, open_tars, make, monkeypatch) -> None:
    monkeypatch.setattr(shards, "open_tar", shards.lru_cache(maxsize=2)(shards.OpenTar))
    for number in range(6):
        write(make["img2dataset"](range(10 * number, 10 * number + 10)), f"{number:05}.tar")
    dataset = open_tars()
    wanted = [random.Random(n).randrange(60) for n in range(600)]
    expected = [f"caption {index}" for index in wanted]
    with ThreadPoolExecutor(4) as pool:
        assert [record.texts[0] for record in pool.map(dataset.read, wanted)] == expected
    with get_context("fork").Pool(2) as processes:
        assert [record.texts[0] for record in processes.map(dataset.read, wanted)] == expected


def test_a_dataset_of_10_000_tars_is_light_on_its_way_to_workers() -> None:
    listed = [
        shards.Shard(f"/data/laion400m/shards/{n:05}.tar", shards.Stamp(10**9, 10**18 + n), 10_000)
        for n in range(10_000)
    ]
    dataset = shards.TarShards(listed, ImageTarsOptions(tars="x"))
    assert len(dataset) == 10**8
    assert len(pickle.dumps(dataset)) < 2**20 * 1.5
    assert sys.getsizeof(dataset.ends) < 2**20


class Payload:
    """Runs a command when it is unpickled."""

    def __init__(self, written: Path) -> None:
        self.written = written

    def __reduce__(self):
        return os.system, (f"touch {self.written}",)


def test_code_in_a_tar_is_never_run(write, open_tars, make, tmp_path: Path) -> None:
    written = tmp_path / "written"
    payload = pickle.dumps(Payload(written))
    evil = [
        ("0001.pkl", payload),
        ("0001.pyd", payload),
        ("../../0001.pth", payload),
        ("0001.json", b'{"caption": "a"}'),
    ]
    write([("0001.jpg", make["picture"](1)), *evil, ("0002.jpg", payload), ("0002.txt", b"a pickle")])
    dataset = open_tars()
    assert [record.texts for record in dataset] == [("a",), ("a pickle",)]
    with pytest.raises(ValueError, match="its content is none of"):
        decode(dataset[1].image)
    assert not written.exists()
    pickle.loads(payload)  # the payload is a live one
    assert written.exists()


def test_commands_in_the_place_of_a_tar_are_never_run(tmp_path: Path) -> None:
    written = tmp_path / "written"
    for source in (f"pipe:touch {written}", f"|touch {written}", f"$(touch {written})"):
        with pytest.raises(UserError, match="there are no tars here"):
            build_image_tars(ImageTarsOptions(tars=source))
    assert not written.exists()
