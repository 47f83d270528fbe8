"""Downloads: one address into one file, gone on with where it stopped, and never under its name before it is whole."""

import os
import ssl
import time
from collections.abc import Callable
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from mmbridge_registry import MmbridgeError, UserError

CHUNK = 1 << 20
ATTEMPTS = 5
"""Times that a transfer which breaks off is gone on with."""
SILENCE = 60
"""Seconds without a byte after which a server is given up."""
HERE = ("localhost", "127.0.0.1", "::1")
TRANSIENT = (408, 429, 500, 502, 503, 504)
BROKEN_OFF = (HTTPException, ConnectionError, TimeoutError, ssl.SSLError)
STALE = 416
"""The server has no such range: what lies here is not the beginning of what it has."""

Progress = Callable[[int, int | None], None]
"""Is told how many bytes are here, and how many there are (None: the server does not say)."""


class _BrokenOffError(Exception):
    """A transfer that ended early, of which something arrived."""


def download(url: str, part: Path, progress: Progress) -> None:
    """Download an address into `part`; what a call before left there is gone on with if the server still has it so.

    Beside `part` lies `<part>.tag`, by which the server tells whether its file is still the same.

    Raises:
        UserError: the address is not https, the server refuses, or the file cannot be written.
        MmbridgeError: the network failed; what has arrived stays for the next call.
    """
    check_address(url)
    for attempt in range(ATTEMPTS):
        try:
            return _receive(url, part, progress)
        except _BrokenOffError as error:
            if attempt + 1 == ATTEMPTS:
                do = "The same command goes on from there."
                raise MmbridgeError(f"the transfer broke off ({error}).", where=url, do=do) from error
            time.sleep(2**attempt)
        except HTTPError as error:
            if error.code == STALE:
                part.unlink()
            elif error.code not in TRANSIENT or attempt + 1 == ATTEMPTS:
                do = "Get the file by hand and put it where the config names it."
                raise UserError(f"the server says {error.code} {error.reason}.", where=url, do=do) from error
            else:
                time.sleep(2**attempt)
        except URLError as error:
            do = "Check the network, or get the file by hand and put it where the config names it."
            raise MmbridgeError(f"it cannot be reached ({error.reason}).", where=url, do=do) from error
        except OSError as error:
            what = f"it cannot be written ({error.strerror or error})."
            raise UserError(what, where=part, do="Make room.") from error
    return None


def check_address(url: str) -> None:
    """Check that an address is https; http is for this machine itself.

    Raises:
        UserError: it is another.
    """
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in HERE):
        raise UserError("files are fetched by https only.", where=url)


class _Redirects(HTTPRedirectHandler):
    def redirect_request(self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str):
        check_address(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _receive(url: str, part: Path, progress: Progress) -> None:
    tag = part.with_name(f"{part.name}.tag")
    here = part.stat().st_size if part.exists() else 0
    wanted: dict[str, str] = {}
    if here and tag.exists():
        wanted = {"Range": f"bytes={here}-", "If-Range": tag.read_text()}
    with _open(Request(url, headers=wanted)) as answer:
        here = here if answer.status == 206 else 0
        length = answer.headers.get("Content-Length")
        total = None if length is None else here + int(length)
        with part.open("ab" if here else "wb") as file:
            _remember(tag, answer.headers)
            done = here + _copy(answer, file, lambda count: progress(here + count, total))
            os.fsync(file.fileno())
    if total is not None and done != total:
        raise _BrokenOffError(f"{done} of {total} bytes are here")


def _open(request: Request) -> Any:
    try:
        return build_opener(_Redirects).open(request, timeout=SILENCE)
    except BROKEN_OFF as error:
        raise _BrokenOffError(type(error).__name__) from error


def _copy(answer: Any, file: IO[bytes], progress: Callable[[int], None]) -> int:
    count = 0
    try:
        while chunk := answer.read1(CHUNK):
            file.write(chunk)
            count += len(chunk)
            progress(count)
    except BROKEN_OFF as error:
        raise _BrokenOffError(f"{type(error).__name__} after {count} bytes") from error
    return count


def _remember(tag: Path, headers: HTTPMessage) -> None:
    # A weak tag promises the same meaning, not the same bytes.
    strong = headers.get("ETag", "")
    if validator := strong if strong.startswith('"') else headers.get("Last-Modified"):
        tag.write_text(validator)
    else:
        tag.unlink(missing_ok=True)
