"""Markdown, taken apart: its blocks, its inline code, its links and headings, each with file and line."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Piece:
    """A part of a document, and the line on which its text begins."""

    text: str
    file: str
    line: int
    language: str = ""
    """Of a fenced block; blocks without one, and indented ones, have none."""

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass
class Document:
    """One file, taken apart."""

    path: Path
    text: str
    blocks: list[Piece] = field(default_factory=list)
    codes: list[Piece] = field(default_factory=list)
    links: list[Piece] = field(default_factory=list)
    headings: list[str] = field(default_factory=list)

    @property
    def anchors(self) -> set[str]:
        """Names that a link can end in, as GitHub makes them of headings."""
        return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in self.headings}


def shipped() -> list[Document]:
    """Give what users read of the repository."""
    return [*documents(ROOT / "docs"), read(ROOT / "README.md"), read(ROOT / "CONTRIBUTING.md")]


def documents(folder: Path) -> list[Document]:
    """Take all documents of a folder apart."""
    return [read(path) for path in sorted(folder.glob("*.md"))]


def read(path: Path) -> Document:
    """Take a document apart."""
    document = Document(path, path.read_text())
    file = str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name
    heading, line = False, 1
    for token in MarkdownIt("commonmark").enable("table").parse(document.text):
        line = token.map[0] + 1 if token.map else line
        if token.type in ("fence", "code_block"):
            language = token.info.split(" ")[0]
            document.blocks.append(Piece(token.content, file, line + (token.type == "fence"), language))
        elif token.type == "inline":
            if heading:
                document.headings.append("".join(child.content for child in token.children or ()))
            _inline(document, token.children or (), file, line)
        heading = token.type == "heading_open"
    return document


def _inline(document: Document, children: Iterable, file: str, line: int) -> None:
    for child in children:
        line += child.type == "softbreak"
        if child.type == "code_inline":
            document.codes.append(Piece(child.content, file, line))
        elif child.type == "link_open":
            document.links.append(Piece(str(child.attrs["href"]), file, line))
        elif child.type == "image":
            document.links.append(Piece(str(child.attrs["src"]), file, line))
