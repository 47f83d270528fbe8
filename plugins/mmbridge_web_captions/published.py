"""Pairs of URL and caption out of the files of CC3M, CC12M and SBU."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from mmbridge_registry import UserError
from mmbridge_registry.json_stream import json_pieces
from mmbridge_registry.published_files import misfit

LAYOUT = "lines of caption and URL (CC3M) or of URL and caption (CC12M), or {image_urls, captions} (SBU)"
FIRST_LINES = 100
"""Lines that say which column is the URL; a file may have got a header for img2dataset, or a broken line."""
URL = ("http://", "https://")


def read_urls(source: Path) -> Iterator[tuple[str, str]]:
    """Read URL and caption of every row that has both.

    Raises:
        UserError: the file is another.
    """
    try:
        with source.open(encoding="utf-8-sig", newline="\n") as file:
            head = list(islice(file, FIRST_LINES))
    except UnicodeDecodeError as error:
        raise UserError(f"this is not UTF-8 ({error.reason}).", where=source, do="Save it as UTF-8.") from error
    if head and head[0].lstrip()[:1] in ("{", "["):
        yield from _arrays(source)
    else:
        yield from _lines(source, url_first=_url_first(head, source))


def _url_first(head: list[str], source: Path) -> bool:
    cells = [line.split("\t") for line in head]
    first = sum(line[0].startswith(URL) for line in cells)
    last = sum(line[-1].startswith(URL) for line in cells if len(line) > 1)
    if 2 * max(first, last) < len(head) or not any(len(line) > 1 for line in cells) or not head:
        raise misfit(source, "captions of URLs", LAYOUT)
    return first > last


def _lines(source: Path, url_first: bool) -> Iterator[tuple[str, str]]:
    # No csv: a lone quote in a caption would swallow the lines that follow, and lines end at line feeds only.
    with source.open(encoding="utf-8-sig", errors="replace", newline="\n") as file:
        for line in file:
            one, tab, other = line.rstrip("\r\n").partition("\t") if url_first else line.rstrip("\r\n").rpartition("\t")
            url, caption = (one, other) if url_first else (other, one)
            if tab and url.startswith(URL) and caption.strip():
                yield url.strip(), caption.strip()


def _arrays(source: Path) -> Iterator[tuple[str, str]]:
    """Join SBU's parallel arrays, whichever comes first."""
    arrays: dict[str, list[str]] = {"image_urls": [], "captions": []}
    for piece in json_pieces(source):
        if piece.key in arrays and isinstance(piece.value, str):
            arrays[piece.key].append(piece.value)
    urls, captions = arrays.values()
    if not urls or not captions:
        raise misfit(source, "captions of URLs", LAYOUT)
    if len(urls) != len(captions):
        what = f"{len(urls)} image_urls and {len(captions)} captions do not belong together."
        raise UserError(what, where=source, do="Get the file again: it is not whole.")
    yield from zip(urls, captions, strict=True)
