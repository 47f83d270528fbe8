"""`mmbridge fetch` of annotation files: what came is what was published, or it does not come under its name."""

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from hashlib import md5, sha256
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from mmbridge_registry import Catalog, PublishedFile
from mmbridge_registry.discovery import discover
from toys.file_server import FileServer, serving

from mmbridge import annotation_files, cli
from mmbridge.downloads import check_address

BARE = ("blip2_tiny", "~data", "~stages.representation.data", "~evaluate")
KARPATHY = b'{"images": []}'
Call = Callable[..., tuple[int, Any, str]]


def data(name: str, part: str, **options: str) -> list[str]:
    """Overrides that name a data set."""
    return [f"data.{name}.{key}={value}" for key, value in {"name": part, "images": "images", **options}.items()]


COCO = data("coco", "coco_captions", annotations="data/dataset_coco.json", split="train")


def zipped(**members: bytes) -> bytes:
    content = io.BytesIO()
    with ZipFile(content, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return content.getvalue()


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving() as server:
        yield server


@pytest.fixture
def publish(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Serve a file and let the catalog know it, and nothing else."""
    known: dict[str, PublishedFile] = {}
    monkeypatch.setattr(Catalog, "published", lambda self, name, where=None: known.get(name))

    def publish(name: str, path: str, content: bytes, checksum: str | None = None) -> None:
        server.files[path] = content
        known[name] = PublishedFile(name, server.url(path), checksum)

    return publish


@pytest.fixture
def fetch(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Fetch in an empty folder; give the exit code, stdout (read, if it is JSON) and stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, Any, str]:
        with pytest.raises(SystemExit) as caught:
            cli.main(["fetch", *BARE, *arguments])
        said = capsys.readouterr()
        return int(caught.value.code or 0), json.loads(said.out) if "--json" in arguments else said.out, said.err

    return call


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


def test_a_member_of_a_zip_as_published(fetch: Call, publish, tmp_path: Path) -> None:
    archive = zipped(**{"deep/dataset_coco.json": KARPATHY, "dataset_flickr8k.json": b"no", "../dataset_x.json": b"no"})
    publish("dataset_coco.json", "captions.zip", archive, f"sha256:{sha256(archive).hexdigest()}")
    code, out, _ = fetch(*COCO)
    assert code == 0 and "as published" in out and "fetched data/dataset_coco.json: from http://" in out
    assert files(tmp_path) == {"dataset_coco.json"}
    assert (tmp_path / "data/dataset_coco.json").read_bytes() == KARPATHY


def test_what_is_here_is_not_asked_for(fetch: Call, publish, server: FileServer, tmp_path: Path) -> None:
    publish("dataset_coco.json", "dataset_coco.json", KARPATHY)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/dataset_coco.json").write_text("mine")
    assert fetch(*COCO)[0] == 0
    assert server.asked == [] and (tmp_path / "data/dataset_coco.json").read_text() == "mine"


def test_one_download_for_several_files(fetch: Call, publish, server: FileServer, tmp_path: Path) -> None:
    archive = zipped(**{"dataset_coco.json": KARPATHY, "dataset_flickr30k.json": b"{}"})
    checksum = f"md5:{md5(archive, usedforsecurity=False).hexdigest()}"
    for name in ("dataset_coco.json", "dataset_flickr30k.json"):
        publish(name, "captions.zip", archive, checksum)
    flickr = data("flickr", "flickr30k", annotations="other/dataset_flickr30k.json", split="train")
    code, said, _ = fetch(*COCO, *flickr, "--json")
    assert code == 0 and len(server.asked) == 1
    assert {one["path"] for one in said["annotations"]} == {"data/dataset_coco.json", "other/dataset_flickr30k.json"}
    assert all(one["checksum"] == checksum and one["published"] for one in said["annotations"])
    assert files(tmp_path) == {"dataset_coco.json", "dataset_flickr30k.json"}
    assert set(said["weights"]) == {"tiny/vit", "tiny/bert", "tiny/t5"}


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "plain"])
def test_another_checksum_is_refused(kind: str, fetch: Call, publish, server: FileServer, tmp_path: Path) -> None:
    publish("dataset_coco.json", f"a.{kind}", zipped(**{"dataset_coco.json": KARPATHY}), f"sha256:{'0' * 64}")
    code, _, err = fetch(*COCO)
    assert code == 1 and "not the published sha256:000" in err and len(err.splitlines()) == 2
    assert files(tmp_path) == set()


def test_a_file_without_a_published_checksum_is_trusted_once(fetch: Call, publish, tmp_path: Path) -> None:
    publish("dataset_coco.json", "dataset_coco.json", KARPATHY)
    code, out, _ = fetch(*COCO)
    assert code == 0 and "recorded beside it, on trust" in out
    record, file = tmp_path / "data/dataset_coco.json.sha256", tmp_path / "data/dataset_coco.json"
    assert record.read_text() == f"{sha256(KARPATHY).hexdigest()}  dataset_coco.json\n"
    file.unlink()
    assert fetch(*COCO)[0] == 0 and file.read_bytes() == KARPATHY
    file.unlink()
    publish("dataset_coco.json", "dataset_coco.json", b"another")
    code, _, err = fetch(*COCO)
    assert code == 1 and "another SHA-256" in err and "delete that record" in err
    assert not file.exists()


def test_a_member_of_a_tar(fetch: Call, publish, tmp_path: Path) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        link = tarfile.TarInfo("link/dataset_coco.json")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        member = tarfile.TarInfo("../../dataset_coco.json")
        member.size = len(KARPATHY)
        archive.addfile(member, io.BytesIO(KARPATHY))
    publish("dataset_coco.json", "a.tar.gz", content.getvalue())
    assert fetch(*COCO)[0] == 0
    assert (tmp_path / "data/dataset_coco.json").read_bytes() == KARPATHY
    assert files(tmp_path) == {"dataset_coco.json", "dataset_coco.json.sha256"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (zipped(**{"other.json": b""}), "0 members"),
        (zipped(**{"dataset_coco.json": b"", "a/dataset_coco.json": b""}), "2 members"),
        (b"<html>moved</html>", "cannot be taken out"),
        (zipped(**{"dataset_coco.json": KARPATHY}).replace(KARPATHY, KARPATHY[::-1]), "cannot be taken out"),
    ],
    ids=["none", "several", "no archive", "damaged"],
)
def test_archives_that_do_not_hold_it(content: bytes, said: str, fetch: Call, publish, tmp_path: Path) -> None:
    publish("dataset_coco.json", "a.zip", content)
    code, _, err = fetch(*COCO)
    assert code == 1 and said in err
    assert not (tmp_path / "data/dataset_coco.json").exists()


def test_what_cannot_be_got_does_not_hide_the_rest(fetch: Call, publish, server: FileServer, tmp_path: Path) -> None:
    publish("dataset_coco.json", "dataset_coco.json", KARPATHY)
    publish("region_descriptions.json", "regions.zip", b"")
    del server.files["regions.zip"]
    genome = data("vg", "visual_genome", annotations="vg/region_descriptions.json")
    code, said, err = fetch(*data("mine", "image_text", annotations="mine.jsonl"), *genome, *COCO, "--json")
    assert code == 1 and [one["path"] for one in said["annotations"]] == ["data/dataset_coco.json"]
    refused, nowhere = said["missing"]
    assert "the server says 404" in refused and err.splitlines() == said["missing"]
    assert "data.mine.annotations" in nowhere and "mine.jsonl is not here, and no plugin knows" in nowhere
    assert files(tmp_path) == {"dataset_coco.json", "dataset_coco.json.sha256"}


def test_one_at_a_time(fetch: Call, publish, tmp_path: Path) -> None:
    import fcntl

    publish("dataset_coco.json", "dataset_coco.json", KARPATHY)
    (tmp_path / "data").mkdir()
    with (tmp_path / "data/dataset_coco.json.part").open("wb") as other:
        other.write(b"half")
        other.flush()
        fcntl.flock(other, fcntl.LOCK_EX)
        code, _, err = fetch(*COCO)
    assert code == 1 and "another command is fetching it" in err
    assert fetch(*COCO)[0] == 0


def test_ctrl_c(fetch: Call, publish, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupt(url: str, part: Path, progress: object) -> None:
        part.write_bytes(b"half")
        raise KeyboardInterrupt

    publish("dataset_coco.json", "dataset_coco.json", KARPATHY)
    monkeypatch.setattr(annotation_files, "download", interrupt)
    code, _, err = fetch(*COCO)
    assert (code, err) == (130, "interrupted; the same command goes on from there.\n")
    assert files(tmp_path) == {"dataset_coco.json.part"}, "what is here stays"


class TestWhatPluginsPublish:
    def files(self) -> list[PublishedFile]:
        catalog = discover().catalog
        return [catalog.published(name) for name in catalog.published_names()]  # type: ignore[misc]

    def test_every_address_is_https_and_names_the_file_or_an_archive(self) -> None:
        for file in self.files():
            check_address(file.url)
            assert file.url.endswith((".zip", ".tar.gz")) or file.url.rpartition("/")[2] in file.name, file

    def test_every_checksum_has_the_length_of_its_kind(self) -> None:
        for file in self.files():
            if file.checksum is not None:
                kind, _, digest = file.checksum.partition(":")
                assert len(bytes.fromhex(digest)) == {"sha256": 32, "md5": 16}[kind], file

    def test_one_address_has_one_checksum(self) -> None:
        files = self.files()
        assert len({(file.url, file.checksum) for file in files}) == len({file.url for file in files}) > 20
