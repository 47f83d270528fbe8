"""Files, modules, tests, anchors, extras and make targets that the documents name are there."""

import re
import tomllib
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest
from toys.documents import ROOT, Document, documents, read, shipped

ROOMS = "benchmarks|configs|docs|mmbridge|plugins|registry|tests"
PATH = re.compile(rf"(?<![\w./~$:-])(?:{ROOMS})/[\w./*{{}},-]*(?:::\w+)?")
"""A path of the repository, wherever it stands, with the name of a test behind it."""
PLUGIN = re.compile(r"mmbridge_[a-z0-9_]+")
NOT_PLUGINS = {"mmbridge_api": "the variable by which a plugin says its version of the contract"}
EXTRA = re.compile(r"mmbridge\[([\w,]+)\]")
MAKE = re.compile(r"(?:^\$ |`)make (\w+)", re.MULTILINE)


def paths(document: Document) -> Iterator[tuple[int, str]]:
    """Give every path of the repository in a document, with its line."""
    for number, line in enumerate(document.text.splitlines(), 1):
        for match in PATH.finditer(line):
            yield number, match[0].rstrip(".,:")


def is_there(path: str) -> bool:
    """Say whether a path of the repository, perhaps with `*` and a test's name, leads somewhere."""
    file, _, test = path.partition("::")
    found = list(ROOT.glob(file.rstrip("/"))) if "*" in file else [ROOT / file]
    return any(one.exists() and (not test or f"def {test}(" in one.read_text()) for one in found)


def mistakes_of_paths(read: Sequence[Document]) -> list[str]:
    """Name every path, plugin, extra and make target that there is not."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    found = []
    for document in read:
        name = document.path.name
        found += [f"{name}:{line}: there is no {path}" for line, path in paths(document) if not is_there(path)]
        for code in document.codes:
            if PLUGIN.fullmatch(code.text) and code.text not in NOT_PLUGINS and not find_spec(code.text):
                found.append(f"{name}:{code.line}: there is no {code.text}")
        asked = {extra for names in EXTRA.findall(document.text) for extra in names.split(",")}
        found += [f"{name}: there is no extra {extra}" for extra in sorted(asked - set(extras))]
        found += [
            f"{name}: there is no make {target}" for target in MAKE.findall(document.text) if target not in targets
        ]
    return found


def mistakes_of_benchmarks(read: Sequence[Document]) -> list[str]:
    """Name every option that a benchmark is called with and does not have."""
    found = []
    for code in (code for document in read for code in [*document.codes, *document.blocks]):
        for script, rest in re.findall(r"(benchmarks/\w+\.py)((?: [^\s`]+)*)", code.text):
            options = re.findall(r"--[\w-]+", rest) if (ROOT / script).exists() else ()
            absent = [option for option in options if f'"{option}"' not in (ROOT / script).read_text()]
            found += [f"{code.where}: {script} has no {option}" for option in absent]
    return found


def mistakes_of_links(documents: Sequence[Document]) -> list[str]:
    """Name every relative link whose file or heading there is not."""
    found = []
    for document in documents:
        for link in (link for link in document.links if not re.match(r"\w+:", link.text)):
            target, _, anchor = link.text.partition("#")
            file = document.path.parent / target if target else document.path
            if not file.exists() or (anchor and (file.suffix != ".md" or anchor not in read(file).anchors)):
                found.append(f"{document.path.name}:{link.line}: there is no {link.text}")
    return found


def test_every_path_leads_somewhere() -> None:
    documents = shipped()
    assert mistakes_of_paths(documents) == []
    assert sum(len(list(paths(document))) for document in documents) >= 25


def test_every_benchmark_has_its_options() -> None:
    assert mistakes_of_benchmarks(shipped()) == []


def test_every_link_leads_somewhere() -> None:
    assert mistakes_of_links(shipped()) == []


def test_every_document_is_linked_from_the_readme() -> None:
    linked = {link.text for link in read(ROOT / "README.md").links}
    assert {f"docs/{document.path.name}" for document in documents(ROOT / "docs")} <= linked


WRONG = (
    "`tests/mmbridge/test_memories.py`",
    "(benchmarks/decodings.py: it measures)",
    "`tests/test_architecture.py::test_files_are_books`",
    "`plugins/mmbridgee_*/`",
    "`mmbridge_blip3`",
    "`pip install 'mmbridge[quantise]'`",
    "`make demos`",
    "`benchmarks/quantized_towers.py blip2_tiny_opt --randomly no`",
    "[data](date.md)",
    "[its order](right.md#orders)",
    "[here](#wrongly)",
    "![a picture](pictures/none.png)",
)


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_place_is_found(text: str, tmp_path: Path) -> None:
    """The proof that the tests above can fail."""
    right = (
        "# Right\n\n## What's the `order`?\n\n`tests/test_architecture.py::test_files_are_pages`, ~/docs/x, a/docs/x,\n"
    )
    right += "`mmbridge/runner.py`. [Here](#right), [there](right.md#whats-the-order), [web](https://x.org/docs/x#y).\n"
    (tmp_path / "right.md").write_text(right)
    (tmp_path / "wrong.md").write_text(f"# Wrong\n\n{text}\n")
    read = documents(tmp_path)
    (mistake,) = mistakes_of_paths(read) + mistakes_of_links(read) + mistakes_of_benchmarks(read)
    assert mistake.startswith("wrong.md:")
