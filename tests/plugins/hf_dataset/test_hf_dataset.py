"""Tables of `datasets`: folders of every kind, the hub's cache, and what may stand in a column."""

import pickle
from io import BytesIO
from pathlib import Path

import datasets
import pyarrow
import pytest
from mmbridge_hf_dataset import HfDatasetOptions, build_hf_dataset
from mmbridge_registry import Dataset, UserError
from mmbridge_registry.testing import check_dataset
from PIL import Image
from pyarrow.parquet import write_table
from toys.annotation_files import records, write, write_images

SHA = "0123456789abcdef0123456789abcdef01234567"


def picture(grey: int) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (8, 8), (grey,) * 3).save(buffer, "PNG")
    return buffer.getvalue()


BYTES = [picture(10 * number) for number in range(6)]


def table(first: int = 0, last: int = 6, **columns: list) -> datasets.Dataset:
    images = [{"bytes": data, "path": None} for data in BYTES[first:last]]
    rows = {"image": images, **(columns or {"caption": [f"caption {n}" for n in range(first, last)]})}
    return datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())


def opened(source: object, **options) -> Dataset:
    dataset = build_hf_dataset(HfDatasetOptions(source=str(source), **options))
    check_dataset(dataset)
    return dataset


def captions(dataset: Dataset) -> list[str]:
    return [record.texts[0] for record in records(dataset)]


def in_parquet(folder: Path) -> Path:
    (folder / "data").mkdir(parents=True)
    for number in range(2):
        table(3 * number, 3 * number + 3).to_parquet(folder / "data" / f"train-{number:05d}-of-00002.parquet")
    table(0, 2).to_parquet(folder / "data" / "test-00000-of-00001.parquet")
    return folder


def test_save_to_disk(tmp_path: Path) -> None:
    table().save_to_disk(tmp_path / "saved")
    dataset = opened(tmp_path / "saved")
    assert [record.image for record in records(dataset)] == BYTES, "bytes as they are, not decoded"
    assert captions(dataset) == [f"caption {n}" for n in range(6)]


def test_splits_on_disk(tmp_path: Path) -> None:
    datasets.DatasetDict({"train": table(0, 4), "test": table(4, 6)}).save_to_disk(tmp_path / "saved")
    assert captions(opened(tmp_path / "saved", split="test")) == ["caption 4", "caption 5"]
    with pytest.raises(UserError, match=r"several splits \(test, train\)\. Set `split`"):
        opened(tmp_path / "saved")
    with pytest.raises(UserError, match=r"no split 'val' \(test, train\)"):
        opened(tmp_path / "saved", split="val")


def test_parquet_shards_in_their_order(tmp_path: Path) -> None:
    folder = in_parquet(tmp_path / "set")
    dataset = opened(folder, split="train")
    assert captions(dataset) == [f"caption {n}" for n in range(6)]
    assert records(dataset)[5].image == BYTES[5]
    assert captions(opened(folder, split="test")) == ["caption 0", "caption 1"]


@pytest.mark.parametrize("name", ["train/000{}.parquet", "a/train-{}.parquet", "[b]*/train_{}-of-2.parquet"])
def test_other_ways_to_name_a_split(name: str, tmp_path: Path) -> None:
    for number, file in enumerate([name.format(0), name.format(1), "other/test.parquet"]):
        (tmp_path / "set" / file).parent.mkdir(parents=True, exist_ok=True)
        table(number, number + 1).to_parquet(tmp_path / "set" / file)
    assert captions(opened(tmp_path / "set", split="train")) == ["caption 0", "caption 1"]


def test_arrow_files(tmp_path: Path) -> None:
    table().save_to_disk(tmp_path / "saved", num_shards=2)
    (tmp_path / "saved" / "state.json").unlink()
    assert captions(opened(tmp_path / "saved")) == [f"caption {n}" for n in range(6)]


@pytest.mark.parametrize("kind", ["parquet", "arrow", "saved"])
def test_contents_are_what_the_files_hold_wherever_they_lie(kind: str, tmp_path: Path) -> None:
    def written(name: str, word: str) -> Dataset:
        rows = table(caption=["x"] * 5 + [word])
        if kind == "parquet":
            (tmp_path / name).mkdir()
            rows.to_parquet(tmp_path / name / "train.parquet")
        else:
            rows.save_to_disk(tmp_path / name)
        if kind == "arrow":
            (tmp_path / name / "state.json").unlink()
        return opened(tmp_path / name)

    one, copy, other = written("one", "red"), written("copy", "red"), written("other", "tan")
    assert one.contents == copy.contents != other.contents
    assert one.contents.keys() == other.contents.keys() and len(one.contents) == 1
    assert pickle.loads(pickle.dumps(one)).contents == one.contents


def test_contents_name_the_files_of_the_split(tmp_path: Path) -> None:
    names = opened(in_parquet(tmp_path / "set"), split="train").contents.keys()
    assert list(names) == [f"{n:05d} train-{n:05d}-of-00002.parquet" for n in range(2)]


def test_a_subset(tmp_path: Path) -> None:
    in_parquet(tmp_path / "set" / "en")
    assert len(opened(tmp_path / "set", subset="en", split="train")) == 6
    with pytest.raises(UserError, match="no folder 'fr'"):
        opened(tmp_path / "set", subset="fr")


def test_questions_as_the_hub_has_them(tmp_path: Path) -> None:
    answers = [[{"answer": "x", "answer_confidence": "yes", "answer_id": n} for n in range(10)]] * 6
    columns = {"question": ["Which?"] * 6, "answers": answers, "image_id": [7] * 6, "question_type": ["which"] * 6}
    table(**columns).save_to_disk(tmp_path / "saved")
    record = records(opened(tmp_path / "saved", facts=["question_type"]))[0]
    assert (record.question, record.answers, record.image_id) == ("Which?", ("x",) * 10, 7)
    assert record.facts == {"question_type": "which"}


def test_lists_of_captions_under_another_name(tmp_path: Path) -> None:
    table(alt=[["one", "two", ""]] * 6, number=["vg_1"] * 6).save_to_disk(tmp_path / "saved")
    record = records(opened(tmp_path / "saved", caption_column="alt", image_id_column="number"))[0]
    assert (record.texts, isinstance(record.image_id, int)) == (("one", "two"), True)
    with pytest.raises(UserError, match=r"neither a caption nor a question \(image, alt, number\)"):
        opened(tmp_path / "saved")
    with pytest.raises(UserError, match=r"no column 'pixels' .*image_column"):
        opened(tmp_path / "saved", image_column="pixels")


def test_plain_parquet_of_bytes_or_paths(tmp_path: Path) -> None:
    for name, images in {"bytes": BYTES[:2], "paths": ["a.png", "b.png"]}.items():
        (tmp_path / name).mkdir()
        write_table(pyarrow.table({"image": images, "text": ["one", "two"]}), tmp_path / name / "train.parquet")
    assert records(opened(tmp_path / "bytes"))[1].image == BYTES[1]
    with pytest.raises(UserError, match=r"holds the path 'a\.png' and no image; set `images`"):
        opened(tmp_path / "paths")
    images = write_images(tmp_path / "images", ["a.png", "b.png"])
    assert records(opened(tmp_path / "paths", images=images))[1].image == images / "b.png"


def test_a_row_without_an_image_is_a_bad_record(tmp_path: Path) -> None:
    rows = {"image": [{"bytes": BYTES[0], "path": None}, None], "caption": ["x", "y"]}
    datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image()).save_to_disk(tmp_path / "saved")
    dataset = build_hf_dataset(HfDatasetOptions(source=str(tmp_path / "saved")))
    with pytest.raises(ValueError, match="no image"):
        dataset.read(1)


def test_paths_in_a_table_stay_below_the_root(tmp_path: Path) -> None:
    write_table(pyarrow.table({"image": ["../x.png"], "text": ["x"]}), tmp_path / "train.parquet")
    with pytest.raises(UserError, match="leads out"):
        opened(tmp_path, images=tmp_path)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch) -> Path:
    """The hub's cache, with one dataset that was fetched."""
    cache = tmp_path / "hub"
    in_parquet(cache / "datasets--owner--name" / "snapshots" / SHA)
    write(cache / "datasets--owner--name" / "refs" / "main", SHA)
    write(cache / "datasets--owner--name" / "snapshots" / SHA / "name.py", "raise SystemExit('code of a data set ran')")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(cache), raising=False)
    return cache


def test_a_hub_id_that_was_fetched(hub: Path) -> None:
    assert len(opened(f"owner/name@{SHA}", split="train")) == 6


def test_a_hub_id_names_its_revision_and_is_never_downloaded(hub: Path) -> None:
    with pytest.raises(UserError, match=r"names no revision\. Say owner/name@<commit>"):
        opened("owner/name", split="train")
    with pytest.raises(UserError, match=r"not in the hub's cache\. Run `hf download owner/other --repo-type dataset"):
        opened(f"owner/other@{SHA}", split="train")


@pytest.mark.parametrize("name", ["data.py", "data.json", "data.pkl"])
def test_only_tables_are_read(name: str, tmp_path: Path) -> None:
    write(tmp_path / "set" / name, "raise SystemExit")
    with pytest.raises(UserError, match=r"no \.parquet and no \.arrow files"):
        opened(tmp_path / "set")


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "state.json"])
def test_broken_files_are_told(name: str, tmp_path: Path) -> None:
    write(tmp_path / "set" / name, "PAR1 no more")
    with pytest.raises(UserError, match="set"):
        opened(tmp_path / "set")


def test_workers_get_paths_not_rows(tmp_path: Path) -> None:
    table(caption=["x" * 100_000] * 6).save_to_disk(tmp_path / "saved")
    dataset = opened(tmp_path / "saved")
    sent = pickle.dumps(dataset)
    assert len(sent) < 20_000
    assert pickle.loads(sent)[5] == dataset[5]
