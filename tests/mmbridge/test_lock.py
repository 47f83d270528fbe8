"""run.lock.json: what it says, what it hides, and what a run that goes on makes of a difference."""

import json
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import ANY

import pytest
import torch
from huggingface_hub import constants
from mmbridge_registry import Dataset, Record, UserError
from mmbridge_registry.discovery import discover
from mmbridge_tiny_world import WEIGHTS

from mmbridge import fingerprints
from mmbridge.collectives import Collectives
from mmbridge.config import load_recipe
from mmbridge.lock import facts_of, settle
from mmbridge.run_directory import RunDirectory

HERE: Any = SimpleNamespace(device=torch.device("cpu"), collectives=Collectives(0, 1))


class Shards(Dataset):
    def __init__(self, *shards: str) -> None:
        self.shards = shards

    def __len__(self) -> int:
        return 10 * len(self.shards)

    @property
    def contents(self) -> dict[str, str]:
        return {f"{place:05d} {place:05d}.tar": shard for place, shard in enumerate(self.shards)}

    def read(self, index: int) -> Record:
        raise ValueError


def facts(*shards: str, overrides: tuple[str, ...] = (), evaluated: tuple[str, ...] = ("e",)) -> dict[str, Any]:
    found, datasets = discover(), ({"captions": Shards(*shards)}, {"search": Shards(*evaluated)})
    return facts_of(load_recipe("blip2_tiny_opt", overrides, found), found, *datasets, HERE)


def test_it_says_what_a_result_depends_on() -> None:
    lock = facts("3 bytes")
    assert lock["seed"] == 0 and lock["packages"]["torch"] == torch.__version__.split("+")[0]
    assert lock["data"] == {"captions": {"records": 10, "contents": {"00000 00000.tar": "3 bytes"}}}
    assert set(lock["weights"]) == {"tiny/eva", "tiny/bert", "tiny/opt"}
    assert {"qformer", "eva", "opt", "mmbridge"} <= set(lock["code"]) and "clip" not in lock["code"]
    assert len({one["content"] for one in lock["weights"].values()}) == 3
    assert json.loads(json.dumps(lock)) == lock == facts("3 bytes")


def in_hub_cache(cache: Path, repo: str, source: Path, commit: str, revision: str = "main") -> None:
    """Lay a folder's files into the hub's cache as a download does: blobs by their sums, snapshots of links, refs."""
    home = cache / f"models--{repo.replace('/', '--')}"
    snapshot = home / "snapshots" / commit
    for folder in (home / "blobs", home / "refs", snapshot):
        folder.mkdir(parents=True, exist_ok=True)
    for file in source.iterdir():
        blob = home / "blobs" / sha256(file.read_bytes()).hexdigest()
        blob.write_bytes(file.read_bytes())
        (snapshot / file.name).symlink_to(Path("../../blobs") / blob.name)
    (home / "refs" / revision).write_text(commit)


@pytest.mark.parametrize("named", ["maker/opt", "maker/opt@v1"])
def test_a_hub_id_is_locked_to_its_commit(named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    first, second, revision = "a" * 40, "b" * 40, named.partition("@")[2] or "main"
    overrides = (f"model.language_model.weights={named}",)
    in_hub_cache(tmp_path / "hub", "maker/opt", WEIGHTS / "opt", first, revision)
    before = facts("a", overrides=overrides)
    assert before["weights"][f"maker/opt@{first}"]["found"] == "hub"
    (tmp_path / "lock").write_text(json.dumps(before))
    assert settle(tmp_path / "lock", facts("a", overrides=overrides)) == (before, None)
    in_hub_cache(tmp_path / "hub", "maker/opt", WEIGHTS / "opt", second, revision)  # a branch moved on, or a tag
    with pytest.raises(UserError, match=rf"maker/opt@{first}\S* = .*, now it is None") as error:
        settle(tmp_path / "lock", facts("a", overrides=overrides))
    assert "owner/name@commit" in str(error.value)
    # The commit is still in the cache: whoever names it goes on, and the run's own config says nothing else.
    pinned = (f"model.language_model.weights=maker/opt@{first}",)
    assert settle(tmp_path / "lock", facts("a", overrides=pinned)) == (before | {"config": ANY}, None)
    began, now, other = (
        load_recipe("blip2_tiny_opt", [*given, f"run.directory={tmp_path}"], discover())
        for given in (overrides, pinned, ("model.language_model.weights=maker/t5",))
    )
    directory = RunDirectory.of(began)
    directory.write_start(began, before)
    directory.check(now)
    with pytest.raises(UserError, match=rf"language_model\.weights = {named}, now it is maker/t5"):
        directory.check(other)


def test_a_snapshot_named_by_its_path_is_a_folder(tmp_path: Path) -> None:
    in_hub_cache(tmp_path, "maker/opt", WEIGHTS / "opt", "a" * 40)
    snapshot = next(tmp_path.glob("*/snapshots/*"))
    weights = facts("a", overrides=(f"model.language_model.weights={snapshot}",))["weights"]
    assert weights[str(snapshot)]["found"] == "file or folder"
    assert weights[str(snapshot)]["content"] == facts("a")["weights"]["tiny/opt"]["content"]


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (("a", "changed"), r"data\.captions\.contents\.00001 00001\.tar = b, now it is changed"),
        (("a",), r"data\.captions\.contents\.00001 00001\.tar = b, now it is None \(and 1 more\)"),
        (("a", "b", "c"), r"00002\.tar = None, now it is c"),
    ],
)
def test_other_data_is_refused_and_the_shard_is_named(tmp_path: Path, now: tuple[str, ...], said: str) -> None:
    lock = tmp_path / "run.lock.json"
    lock.write_text(json.dumps(facts("a", "b")))
    with pytest.raises(UserError, match=said) as error:
        settle(lock, facts(*now))
    assert "run.name=" in str(error.value) and "run.lock.json" in str(error.value)


def test_other_weights_are_refused(tmp_path: Path) -> None:
    before = facts("a")
    before["weights"]["tiny/opt"]["content"] = "sha256 other"
    (tmp_path / "lock").write_text(json.dumps(before))
    with pytest.raises(UserError, match=r"weights\.tiny/opt\.content = sha256 other"):
        settle(tmp_path / "lock", facts("a"))


def test_other_versions_are_said_and_remembered(tmp_path: Path) -> None:
    path, now = tmp_path / "lock", facts("a")
    before = json.loads(json.dumps(now))
    before["packages"]["torch"], before["code"]["qformer"], before["host"]["ranks"] = "2.11", "sha256 old", 8
    path.write_text(json.dumps(before))
    lock, said = settle(path, now)
    torch_now = now["packages"]["torch"]
    assert said == f"changed since it began: packages.torch 2.11 -> {torch_now}; the code of qformer"
    assert lock["earlier"] == [{"packages.torch": "2.11", "code.qformer": "sha256 old"}]
    path.write_text(json.dumps(lock))
    again, said = settle(path, now)
    assert said is None and again["earlier"] == lock["earlier"]


def test_other_data_of_an_evaluation_are_said_and_no_reason_to_refuse(tmp_path: Path) -> None:
    path, before = tmp_path / "lock", facts("a", evaluated=("e", "f"))
    path.write_text(json.dumps(before))
    lock, said = settle(path, facts("a", evaluated=("e", "changed")))
    assert said == "changed since it began: the data of the evaluations search"
    assert lock["earlier"] == [{"evaluate.search.contents.00001 00001.tar": "f"}]
    assert lock["evaluate"]["search"]["contents"]["00001 00001.tar"] == "changed"
    assert settle(path, facts("a", evaluated=("e",)))[1] == said, "one shard less is fewer records"


def test_a_lock_of_before_says_less_and_is_no_reason_to_refuse(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text(json.dumps({"seed": 0, "packages": {}, "plugins": {}}))
    assert settle(tmp_path / "lock", facts("a"))[1] is None
    (tmp_path / "lock").write_text("{")
    with pytest.raises(UserError, match="not readable"):
        settle(tmp_path / "lock", facts("a"))


def test_a_large_file_is_summed_up_once_and_again_when_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMBRIDGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fingerprints, "REMEMBERED", 4)
    read = []
    summed_up = fingerprints.sha256
    monkeypatch.setattr(fingerprints, "sha256", lambda file: read.append(file.name) or summed_up(file))
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"weights")
    first = fingerprints.of_files(weights)
    assert fingerprints.of_files(weights) == first and read == ["model.safetensors"]
    weights.write_bytes(b"WEIGHTS!")
    assert fingerprints.of_files(weights) != first and len(read) == 2


def test_a_folder_is_what_its_files_hold_wherever_it_lies(tmp_path: Path) -> None:
    for name, tokenizer in (("one", b"a"), ("two", b"a"), ("three", b"b")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(b"w")
        (tmp_path / name / "vocab.txt").write_bytes(tokenizer)
    sums = [fingerprints.of_files(tmp_path / name, (".safetensors", ".txt")) for name in ("one", "two", "three")]
    assert sums[0] == sums[1] != sums[2]
