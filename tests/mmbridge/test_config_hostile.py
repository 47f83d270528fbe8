"""YAML that means harm, or that YAML itself misreads."""

from pathlib import Path
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmbridge_registry import UserError
from toys.parts import CONFIG, discovered

from mmbridge.config import load_recipe

BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "\n".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


def refused(tmp_path: Path, text: str) -> str:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        load_recipe(path, [], discovered())
    return str(caught.value).replace(f"{tmp_path}/", "")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("x: !!python/object/apply:os.system [touch {owned}]", "YAML tags are refused"),
        ("x: !!python/name:os.system", "YAML tags are refused"),
        ("!!python/name:os.system : 1", "keys must be text"),
        ("x: !mine 1", "YAML tags are refused"),
        ("x: !!binary aGk=", "YAML tags are refused"),
        ("x: !!set {a, b}", "YAML tags are refused"),
        ("x: 010", "another number"),
        ("x: 12:30", "another number"),
        ("x: 1:2:3.5", "another number"),
        ("1: x", "keys must be text"),
        ("on: x", "keys must be text"),
        ("null: x", "keys must be text"),
        ("[a, b]: x", "keys must be text"),
        ("x: {<<: *nothing}", "not valid YAML"),
        ("x: [1", "not valid YAML"),
        ("x: 1\n...\n---\ny: 2", "not valid YAML"),
        ("\tx: 1", "not valid YAML"),
        ("run: {seed: 4}", "this key stands twice; first in line 29"),
        ("x: !!int abc", "not valid YAML"),
        ("x: ???", "must be given"),
    ],
)
def test_one_line_at_the_place(tmp_path: Path, line: str, says: str) -> None:
    owned = tmp_path / "owned"
    message = refused(tmp_path, CONFIG + line.format(owned=owned) if "{owned}" in line else CONFIG + line + "\n")
    assert says in message
    assert message.startswith("c.yaml:")
    assert "\n" not in message or says not in message.splitlines()[1]
    assert not owned.exists()


def test_the_line_of_a_tag(tmp_path: Path) -> None:
    assert refused(tmp_path, CONFIG.replace("seed: 3", "seed: !!python/name:os.system x")).startswith(
        "c.yaml:29: run.seed"
    )


def test_merge_keys_are_refused(tmp_path: Path) -> None:
    assert "keys must be text" in refused(tmp_path, "x: &x {a: 1}\ny: {<<: *x}\n")


def test_plain_aliases_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    anchored = CONFIG.replace("data: {name: pairs, path: test.csv}, k", "data: &test {name: pairs, path: test.csv}, k")
    path.write_text(anchored.replace("5, data: {name: pairs, path: test.csv}", "5, data: *test"))
    recipe = load_recipe(path, [], discovered())
    assert recipe.evaluate["captions"].dataset.options == recipe.evaluate["recall"].dataset.options


@pytest.mark.parametrize("text", [BOMB, "a: &a [*a]", "[" * 5000, "{a: " * 3000, "a: " + "9" * 5000])
def test_bombs_end_soon(tmp_path: Path, text: str) -> None:
    before = process_time()
    message = refused(tmp_path, text)
    assert message.startswith("c.yaml")
    assert len(message) < 8000
    assert process_time() - before < 5


@pytest.mark.parametrize("name", ["os.system", "mmbridge.runner:run", "mmbridge_qformer.build", "__import__"])
def test_a_name_is_never_a_path_to_code(tmp_path: Path, name: str) -> None:
    assert f"there is no bridge '{name}'" in refused(tmp_path, CONFIG.replace("name: textual", f"name: '{name}'"))


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60) | st.text(alphabet="{}[]:,&*!|>'\"%@`#-\n ab01", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Whatever stands in a file or an override, only a UserError with one place per line comes out."""
    path = Path("/nonexistent") / "c.yaml"
    from mmbridge.config.document import parse
    from mmbridge.config.places import Problems

    try:
        parse(text, lambda line: f"{path}:{line}", Problems())
    except UserError as error:
        assert str(error).startswith(str(path))
