"""Downloads against a server on this machine: gone on with, never of another file, never by another protocol."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from mmbridge_registry import MmbridgeError, UserError
from toys.file_server import FileServer, serving

from mmbridge import downloads
from mmbridge.downloads import ATTEMPTS, check_address, download

CONTENT = bytes(range(256)) * 2000


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setattr(downloads.time, "sleep", lambda seconds: None)
    with serving() as server:
        server.files["a.json"] = CONTENT
        yield server


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / "a.json.part"


def silent(done: int, total: int | None) -> None:
    pass


def test_a_file_arrives_and_says_how_far_it_is(server: FileServer, part: Path) -> None:
    told = []
    download(server.url("a.json"), part, lambda done, total: told.append((done, total)))
    assert part.read_bytes() == CONTENT
    assert told[-1] == (len(CONTENT), len(CONTENT)) and told == sorted(told)


def test_a_transfer_that_breaks_off_is_gone_on_with(server: FileServer, part: Path) -> None:
    server.breaks = [100_000, 0, 200_000]
    download(server.url("a.json"), part, silent)
    assert part.read_bytes() == CONTENT
    assert [wanted for _, wanted in server.asked] == [None, "bytes=100000-", "bytes=100000-", "bytes=300000-"]


def test_what_arrived_stays_for_the_next_call(server: FileServer, part: Path) -> None:
    server.breaks = [1000] * ATTEMPTS
    with pytest.raises(MmbridgeError, match=r"broke off \(5000 of 512000 bytes are here\).*goes on from there"):
        download(server.url("a.json"), part, silent)
    assert part.read_bytes() == CONTENT[:5000]
    download(server.url("a.json"), part, silent)
    assert part.read_bytes() == CONTENT and server.asked[-1] == ("a.json", "bytes=5000-")


def test_a_file_that_changed_meanwhile_is_begun_anew(server: FileServer, part: Path) -> None:
    server.breaks = [1000] * ATTEMPTS
    with pytest.raises(MmbridgeError):
        download(server.url("a.json"), part, silent)
    server.files["a.json"] = CONTENT[::-1]
    download(server.url("a.json"), part, silent)
    assert part.read_bytes() == CONTENT[::-1]


def test_a_server_without_tags_is_never_trusted_to_go_on(server: FileServer, part: Path) -> None:
    server.tags, server.breaks = False, [1000]
    download(server.url("a.json"), part, silent)
    assert part.read_bytes() == CONTENT and [wanted for _, wanted in server.asked] == [None, None]


def test_more_here_than_there_is(server: FileServer, part: Path) -> None:
    download(server.url("a.json"), part, silent)
    download(server.url("a.json"), part, silent)
    assert part.read_bytes() == CONTENT and server.asked[-1] == ("a.json", None)


def test_a_server_that_is_busy_is_asked_again(server: FileServer, part: Path) -> None:
    server.statuses = [503, 429]
    download(server.url("a.json"), part, silent)
    assert part.read_bytes() == CONTENT


@pytest.mark.parametrize(("status", "asked"), [(404, 1), (403, 1), (503, ATTEMPTS)])
def test_a_server_that_refuses(status: int, asked: int, server: FileServer, part: Path) -> None:
    server.statuses = [status] * ATTEMPTS
    with pytest.raises(UserError, match=rf"the server says {status}.*by hand"):
        download(server.url("a.json"), part, silent)
    assert len(server.asked) == asked and not part.exists()


def test_nobody_there(part: Path) -> None:
    with serving() as gone:
        url = gone.url("a.json")
    with pytest.raises(MmbridgeError, match=r"cannot be reached.*by hand"):
        download(url, part, silent)


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://x/a", "http://example.org/a", "data:,a", "pipe:cat a", "/etc/passwd", "https"]
)
def test_https_only(url: str, part: Path) -> None:
    with pytest.raises(UserError, match="https only"):
        check_address(url)
    with pytest.raises(UserError, match="https only"):
        download(url, part, silent)


def test_a_redirect_to_another_protocol(server: FileServer, part: Path) -> None:
    server.redirects = {"b.json": server.url("a.json"), "c.json": "ftp://127.0.0.1/a", "d.json": "http://example.org/a"}
    download(server.url("b.json"), part, silent)
    assert part.read_bytes() == CONTENT
    for path in ("c.json", "d.json"):
        with pytest.raises(UserError, match="https only"):
            download(server.url(path), part, silent)


def test_a_full_disk_is_no_network_error(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be written"):
        download(server.url("a.json"), tmp_path / "no" / "folder", silent)
    assert len(server.asked) == 1
