"""METEOR from the program's counts, and by the program itself where there is Java; SPICE where there is CoreNLP."""

import json
import os
import re
from pathlib import Path

import pytest
import torch
from mmbridge_captioning import CaptioningOptions, build_captioning, java
from mmbridge_captioning.java import added, jar_of, meteor, meteor_of, spice
from mmbridge_captioning.tokens import words
from mmbridge_registry import UserError

HERE = Path(__file__).parent
THEIRS = json.loads((HERE / "meteor.json").read_text())
ITEMS = json.loads((HERE / "pycocoevalcap.json").read_text())["items"]


def jar(name):
    try:
        return jar_of(name)
    except UserError as error:
        pytest.skip(str(error))


def test_meteor_is_the_programs():
    counts = added(torch.tensor([item["counts"] for item in THEIRS["items"]]).double())
    assert meteor_of(counts).tolist() == pytest.approx([item["meteor"] for item in THEIRS["items"]], abs=1e-14)
    assert meteor_of(counts.sum(0)).item() == pytest.approx(THEIRS["meteor"], abs=1e-14)


@pytest.mark.slow
def test_meteor_runs():
    candidates = [words(item["candidate"]) for item in ITEMS[:150]]
    references = [[*map(words, item["references"])] for item in ITEMS[:150]]
    metric, each = meteor(jar("meteor"), candidates, [*candidates[1:], candidates[0]], references)
    assert each == pytest.approx([item["meteor"] for item in THEIRS["items"]], abs=1e-14)
    assert metric.value == pytest.approx(THEIRS["meteor"], abs=1e-14)
    assert metric.chance < metric.interval[0] < metric.value < metric.interval[1]


@pytest.mark.slow
def test_spice_runs():
    candidates, references = [("a", "dog", "runs"), ()], [[("a", "dog", "runs")], [("two", "cats")]]
    metric, each = spice(jar("spice"), candidates, candidates[::-1], references)
    assert each == [1, 0] and (metric.value, metric.chance) == (0.5, 0)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A folder where pycocoevalcap seems to be installed, and another that is searched for `java`."""
    for program in ("meteor/meteor-1.5.jar", "spice/spice-1.0.jar"):
        path = tmp_path / "packages" / "pycocoevalcap" / program
        path.parent.mkdir(parents=True)
        path.touch()
    monkeypatch.syspath_prepend(tmp_path / "packages")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path


def runs(folder: Path, code: int = 0) -> None:
    """Write a `java` that ends with a code."""
    program = folder / "bin" / "java"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nexit {code}\n")
    program.chmod(0o755)


@pytest.mark.parametrize("code", [None, 1], ids=["none", "broken"])
def test_without_java_it_is_said_before_anything_is_captioned(code, installed):
    if code:
        runs(installed, code)
    with pytest.raises(UserError, match=r"meteor needs Java.*Install a Java runtime"):
        build_captioning(CaptioningOptions(java=("meteor",)))


def test_without_the_jars_it_is_said_how_to_get_them(installed, monkeypatch):
    runs(installed)
    with pytest.raises(UserError, match=r"no stanford-corenlp-3.6.0.jar.*get_stanford_models"):
        build_captioning(CaptioningOptions(java=("meteor", "spice")))
    monkeypatch.setattr(java, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs pycocoevalcap.*pip install mmbridge\[java\]"):
        build_captioning(CaptioningOptions(java=("meteor",)))


def test_ctrl_c_is_not_for_the_program(installed):
    runs(installed)
    found = jar_of("meteor")
    (installed / "bin" / "java").write_text(
        "#!/bin/sh\nread -r _ _ _ _ group _ < /proc/$$/stat\necho $group >&2\nexit 3\n"
    )
    with pytest.raises(UserError) as error:
        meteor(found, [("a",)], [("b",)], [[("a",)]])
    assert int(re.search(r"\((\d+)\)", str(error.value))[1]) != os.getpgrp()


def test_a_program_that_fails_is_named(installed):
    runs(installed)
    found = jar_of("meteor")
    (installed / "bin" / "java").write_text("#!/bin/sh\necho 'no memory' >&2\nexit 3\n")
    with pytest.raises(UserError, match=r"meteor ended with code 3 \(no memory\)"):
        meteor(found, [("a",)], [("b",)], [[("a",)]])
