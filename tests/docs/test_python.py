"""The documents' Python compiles, and what it takes and calls of mmbridge is there, with these arguments."""

import ast
import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import mmbridge_registry
import pytest
import transformers
from toys.documents import Document, Piece, documents, shipped

import mmbridge
from mmbridge import decoding, inference
from mmbridge.inference import comparing

OURS = re.compile(r"mmbridge(?!_grid\b)\w*(\.|$)")
"""Modules that are looked into; `mmbridge_grid` is the README's own, and tests/test_readme.py installs it."""
DOTTED = re.compile(r"(mmbridge\w*(?:\.\w+)+|[A-Z]\w+\.\w+)(\(.*\))?")
FILES = {"json", "safetensors", "py", "yaml", "md", "pth"}
CALL = re.compile(r"\w+\(.*\)")
VALUES = (decoding, comparing, mmbridge_registry)
"""Where inline code has its classes from, beside the methods of a model."""


class Reader(ast.NodeVisitor):
    """Follows names of mmbridge through the blocks of a document; `model` is whatever `mmbridge.load` gives."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {}
        self.mistakes: list[tuple[int, str]] = []

    def visit_Import(self, node: ast.Import) -> None:
        for alias in filter(lambda alias: OURS.match(alias.name), node.names):
            try:
                self.names[alias.asname or alias.name.split(".")[0]] = import_module(alias.name)
            except ImportError as error:
                self.mistakes.append((node.lineno, str(error)))

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names if OURS.match(node.module or "") else ():
            try:
                self.names[alias.asname or alias.name] = attribute(f"{node.module}.{alias.name}")
            except (ImportError, AttributeError) as error:
                self.mistakes.append((node.lineno, str(error)))

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        for target in node.targets:
            for name in (inner for inner in ast.walk(target) if isinstance(inner, ast.Name)):
                self.names.pop(name.id, None)
        if isinstance(node.targets[0], ast.Name) and (value := self.known(node.value)) is not None:
            self.names[node.targets[0].id] = value

    def visit_Name(self, node: ast.Name) -> None:
        if node.id == "model" and isinstance(node.ctx, ast.Load) and "model" not in self.names:
            self.mistakes.append((node.lineno, "nothing has loaded `model`"))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.generic_visit(node)
        owner = self.known(node.value)
        if owner is not None and not hasattr(owner, node.attr):
            self.mistakes.append((node.lineno, f"{ast.unparse(node)}: there is no {node.attr}"))

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        function = self.known(node.func)
        if callable(function) and (why := unfit(function, node)):
            self.mistakes.append((node.lineno, f"{ast.unparse(node)}: {why}"))

    def known(self, node: ast.expr) -> Any:
        """What an expression stands for, if it is of mmbridge; for a model, its class."""
        if isinstance(node, ast.Name):
            return self.names.get(node.id)
        if isinstance(node, ast.Attribute):
            owner = self.known(node.value)
            return None if owner is None else getattr(owner, node.attr, None)
        if isinstance(node, ast.Call) and self.known(node.func) is mmbridge.load:
            return inference.Model
        return None


def attribute(dotted: str) -> Any:
    """Import what a dotted name stands for, a module or something in one."""
    module, _, name = dotted.rpartition(".")
    try:
        return import_module(dotted)
    except ImportError:
        owner = import_module(module) if OURS.match(module) or "." not in module else attribute(module)
        return getattr(owner, name)


def unfit(function: Callable[..., Any], call: ast.Call) -> str | None:
    """Why a call's arguments are not those that a function takes."""
    method = inspect.isfunction(function) and "." in function.__qualname__
    given = [None] * (len(call.args) + method)
    named = {keyword.arg: None for keyword in call.keywords if keyword.arg}
    unpacks = len(named) < len(call.keywords) or any(isinstance(one, ast.Starred) for one in call.args)
    signature = inspect.signature(function)
    try:
        (signature.bind_partial if unpacks else signature.bind)(*given, **named)
    except TypeError as error:
        return str(error)
    return None


def mistakes_of_blocks(read: Sequence[Document]) -> list[str]:
    """Name every block that does not compile, and whatever it takes of mmbridge that there is not."""
    found = []
    for document in read:
        reader = Reader()
        for block in (block for block in document.blocks if block.language == "python"):
            try:
                tree = ast.parse(block.text)
            except SyntaxError as error:
                found.append(f"{block.file}:{block.line + (error.lineno or 1) - 1}: {error.msg}")
                continue
            reader.mistakes = []
            reader.visit(tree)
            found += [f"{block.file}:{block.line + line - 1}: {why}" for line, why in reader.mistakes]
    return found


def mistakes_in_the_text(read: Sequence[Document]) -> list[str]:
    """Name every `mmbridge.name`, `Class.method` and `call(with, names)`, in inline code, that there is not."""
    codes = (code for document in read for code in document.codes)
    return [f"{code.where}: {code.text}: {why}" for code in codes for why in wrong(code)]


def wrong(code: Piece) -> Iterator[str]:
    if (dotted := DOTTED.fullmatch(code.text)) and dotted[1].split(".")[-1] not in FILES:
        root, *names = dotted[1].split(".")
        if root in dir(transformers):  # what it has in its classes, it says slowly
            return
        owner = next(
            (getattr(place, root) for place in (mmbridge_registry, inference, decoding) if hasattr(place, root)), None
        )
        try:
            _ = attribute(dotted[1]) if owner is None else getattr(owner, names[0])
        except (ImportError, AttributeError) as error:
            yield str(error)
    elif CALL.fullmatch(code.text):
        yield from wrong_call(code.text)


def wrong_call(text: str) -> Iterator[str]:
    """Say what is wrong with a call: a model's method, or a class, with its arguments by their names."""
    call = ast.parse(text, mode="eval").body
    assert isinstance(call, ast.Call)
    name = ast.unparse(call.func)
    owner = next((getattr(place, name) for place in (inference.Model, *VALUES) if hasattr(place, name)), None)
    if owner is None:
        yield f"there is no {name}"
        return
    if why := unfit(owner, call):
        yield why
    known = inspect.signature(owner).parameters
    yield from (f"no argument {one.id}" for one in call.args if isinstance(one, ast.Name) and one.id not in known)


def test_every_block_runs_on_names_that_exist() -> None:
    read = shipped()
    assert mistakes_of_blocks(read) == []
    assert sum(block.language == "python" for document in read for block in document.blocks) >= 6


def test_names_in_the_text_exist() -> None:
    assert mistakes_in_the_text(shipped()) == []


WRONG = {
    "x = (": "was never closed",
    "import mmbridge.inferrence": "mmbridge.inferrence",
    "import mmbridges": "mmbridges",
    "model = other.load('runs/x')\nmodel.caption([])": "nothing has loaded",
    "from mmbridge_registry import VisionEncoders": "VisionEncoders",
    "from mmbridge import decodings": "decodings",
    "model.captions(['a.png'])": "there is no captions",
    "model.caption(['a.png'], promt='a')": "promt",
    "model.match(['a.png'])": "texts",
    "for _ in model.stream('photos', model.capture): pass": "there is no capture",
    "mmbridge.load('runs/x', steps=3)": "steps",
    "mmbridge.load('runs/x').says()": "there is no says",
    "from mmbridge import decoding\nmodel.caption([], **decoding.BLIP2_COCOS.arguments)": "BLIP2_COCOS",
    "from mmbridge import decoding\ndecoding.Generation(beam=3)": "beam",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_block_is_found(text: str, tmp_path: Path) -> None:
    """The proof that the tests above can fail; `model` comes from a block further up."""
    first = "```python\nimport mmbridge\n\nmodel = mmbridge.load('runs/x')\nmodel.caption(['a.png'])\n```\n"
    (tmp_path / "wrong.md").write_text(f"{first}\n```python\n{text}\n```\n")
    (mistake,) = mistakes_of_blocks(documents(tmp_path))
    assert re.match(r"wrong.md:(9|10): ", mistake) and WRONG[text] in mistake


def test_wrong_names_in_the_text_are_found(tmp_path: Path) -> None:
    right = "`mmbridge.load` `mmbridge.json` `mmbridge_registry.Tracker` `Objective.count` `match(images, texts)`"
    wrong = "`mmbridge.loads` `mmbridge_registry.Trackers` `Objective.counts` `match(images)` `match(pictures, texts)`"
    (tmp_path / "wrong.md").write_text(f"{right}\n{wrong} `says(images)` `Nothing.method`\n")
    found = mistakes_in_the_text(documents(tmp_path))
    assert [mistake.split(": ")[0] for mistake in found] == ["wrong.md:2"] * 7, found
