"""Every command line of the documents is one that `mmbridge` understands, down to the keys of its overrides."""

import re
import shlex
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
from toys import stand_ins
from toys.documents import ROOT, Document, Piece, documents, shipped
from typer.main import get_command

from mmbridge.cli import CliError, build_app
from mmbridge.config import find_config

MMBRIDGE: Any = get_command(build_app())
NO_SHELL = ("yaml", "python", "toml", "json", "html")
USAGE = re.compile(r"\[(-[^\]]*)\]")
"""`[--top N]`: an option that may be left out."""
OF_OTHERS = {"--max-restarts": "torchrun", "--gpus-per-task": "Slurm", "--signal": "Slurm"}
"""Options in the text that are not of mmbridge."""
SECTIONS = "model|data|features|stages|evaluate|trackers|run"
KEY = re.compile(rf"(?!.*\.json$)~?(?P<key>(?:{SECTIONS})(?:\.\w+)+)(?P<set>=.*)?")
"""A key of a config, as an override writes it; `run.lock.json` is none."""


def lines(block: Piece) -> Iterator[Piece]:
    """Give the lines of a block that a shell reads, continued ones in one."""
    texts = block.text.splitlines()
    if block.language in NO_SHELL:
        return
    prompts = any(text.startswith("$ ") for text in texts)
    number = 0
    while number < len(texts):
        first, text = number, texts[number]
        while text.endswith("\\") and number + 1 < len(texts):
            number += 1
            text = text[:-1] + texts[number]
        if text.startswith("$ ") or not prompts:
            yield Piece(text.removeprefix("$ "), block.file, block.line + first)
        number += 1


def calls(line: str) -> Iterator[list[str]]:
    """Give what `mmbridge` is called with in a line, behind whatever stands in front of it."""
    if "mmbridge" not in line:
        return
    lexer = shlex.shlex(USAGE.sub(r"\1", line), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words = list(lexer)
    for index, word in enumerate(words):
        if word == "mmbridge":
            yield list(takewhile(lambda word: not set(word) <= set("();<>|&"), words[index + 1 :]))
        elif words[index - 1] == "-c":
            yield from calls(word)


def commands(document: Document) -> Iterator[tuple[Piece, tuple[str, ...]]]:
    """Give every call of `mmbridge` in blocks and inline code."""
    for line in [*(line for block in document.blocks for line in lines(block)), *document.codes]:
        for words in calls(line.text):
            yield line, tuple(word for word in words if word != "--debug")


@cache
def misunderstood(words: tuple[str, ...], mention: bool = False) -> str | None:
    """Why a command line is none; a mention in the text may name a command and leave out all that belongs to it."""
    command, name, rest = MMBRIDGE, "mmbridge", list(words)
    context = command.context_class(command, info_name=name)
    while hasattr(command, "get_command") and rest and rest[0] not in ("--help", "--version"):
        name, *rest = rest
        command = command.get_command(context, name)
        if command is None:
            return f"there is no command {name!r}"
        context = command.context_class(command, info_name=name, parent=context)
    if "--help" in rest or rest == ["--version"] or (mention and not rest):
        return None
    if hasattr(command, "get_command"):
        return f"{name!r} needs a command"
    numbers = ["1" if word == "N" and rest[index - 1].startswith("--") else word for index, word in enumerate(rest)]
    try:
        given = command.make_context(name, numbers, parent=context.parent).params
    except CliError as error:
        return error.format_message()  # type: ignore[attr-defined]
    return refused(name, given)


def refused(command: str, given: dict[str, Any]) -> str | None:
    """Why the configs that a command line names, or its overrides, cannot be."""
    overrides = [word for word in given.get("overrides") or () if word != "..."]
    if strays := [word for word in overrides if "=" not in word and not word.startswith("~")]:
        return f"too many arguments: {strays}"
    if given.get("card"):
        return stand_ins.refused_by_card(given["card"], overrides)
    configs = [given.get(key) for key in ("config", "file", "name", "evaluations")] + [*given.get("configs", ())]
    own = [config for config in configs if config and not is_users(command, config)]
    if own:
        return next(filter(None, (refused_as_shipped(one, tuple(overrides)) for one in own)), None)
    return stand_ins.refused_overrides(overrides) if overrides else None


@cache
def refused_as_shipped(config: str, overrides: tuple[str, ...]) -> str | None:
    """Why there is no such shipped config, or it cannot be with these overrides."""
    return stand_ins.refusal(lambda: stand_ins.read_any(find_config(config), overrides))


def is_users(command: str, config: str) -> bool:
    """Say whether a word stands for a config (or a hub id, which `fetch` takes too) that is not shipped."""
    if command == "fetch" and re.fullmatch(r"\w+/[\w.-]+", config):
        return True
    return config == "..." or config.isupper() or (config.endswith(".yaml") and not (ROOT / config).is_file())


def mistakes_of_commands(read: Sequence[Document]) -> list[str]:
    """Name every command line that would not be understood."""
    found = []
    for document in read:
        for line, words in commands(document):
            if why := misunderstood(words, mention=line in document.codes):
                found.append(f"{line.where}: mmbridge {' '.join(words)}: {why}")
    return found


def mistakes_in_the_text(read: Sequence[Document]) -> list[str]:
    """Name every option and every key of a config, in inline code, that there is not."""
    options = set(_options(MMBRIDGE)) | set(OF_OTHERS)
    known = {key for config in stand_ins.CONFIGS for key in stand_ins.keys(stand_ins.recipe(config).resolved)}
    found = []
    for code in (code for document in read for code in document.codes):
        if re.fullmatch(r"(data|plugins) [a-z]+", code.text):
            wrong = misunderstood(tuple(code.text.split()), mention=True)
            found += [f"{code.where}: {wrong}"] if wrong else []
        elif option := re.match(r"--[\w-]+", code.text):
            if option[0] not in options:
                found.append(f"{code.where}: there is no option {option[0]}")
        elif key := KEY.fullmatch(code.text.replace(".X.", ".generation.")):
            if key["set"] in (None, "=..."):
                wrong = None if key["key"] in known or _of_the_model(key["key"]) else f"there is no key {key['key']}"
            else:
                wrong = stand_ins.refused_overrides([key["key"] + key["set"]])
            found += [f"{code.where}: {wrong}"] if wrong else []
    return found


def _of_the_model(dotted: str) -> bool:
    """`model.temperature`: of the `model` that the documents' Python has loaded."""
    from mmbridge.inference import Model

    of, _, name = dotted.partition(".")
    return of == "model" and hasattr(Model, name)


def _options(command: Any) -> Iterator[str]:
    context = command.context_class(command)
    for parameter in command.get_params(context):
        yield from parameter.opts if parameter.param_type_name == "option" else ()
    for name in command.list_commands(context) if hasattr(command, "list_commands") else ():
        yield from _options(command.get_command(context, name))


def comments_of_configs() -> list[Document]:
    """The commands that stand above shipped configs, as documents."""
    read = []
    for file in sorted((ROOT / "configs").rglob("*.yaml")):
        lines = [line[1:] if line.startswith("#   ") else "" for line in file.read_text().splitlines()]
        read.append(Document(file, "", [Piece("\n".join(lines), str(file.relative_to(ROOT)), 1)]))
    return read


def test_every_command_line_is_understood() -> None:
    assert mistakes_of_commands(shipped()) == []


def test_no_command_line_is_overlooked() -> None:
    """Counted another way: every line of a file that looks like one was taken for one."""
    for document in shipped():
        seen = {line.line for line, _ in commands(document)}
        looks = re.compile(r"(\$ |    )([\w=.-]+ )*mmbridge [a-z]")
        assert {number for number, text in enumerate(document.text.splitlines(), 1) if looks.match(text)} <= seen
    assert len([words for document in documents(ROOT / "docs") for _, words in commands(document)]) >= 50


def test_commands_above_shipped_configs_are_understood() -> None:
    above = comments_of_configs()
    assert len([words for document in above for _, words in commands(document)]) >= 5
    assert mistakes_of_commands(above) == []


def test_options_and_keys_in_the_text_exist() -> None:
    named = {code.text.split("=")[0] for document in shipped() for code in document.codes}
    assert set(OF_OTHERS) <= named  # no exception that nobody needs
    assert mistakes_in_the_text(shipped()) == []


WRONG = {
    "$ mmbridge trian my.yaml": "no command 'trian'",
    "$ mmbridge data docter my.yaml": "no command 'docter'",
    "$ mmbridge data": "needs a command",
    "$ mmbridge diff runs/one": "second",
    "$ mmbridge diff runs/one runs/two runs/three": "runs/three",
    "$ mmbridge plan my.yaml --rank 16": "--rank",
    "$ mmbridge plan my.yaml --ranks many": "many",
    "$ mmbridge match MODEL IMAGE TEXT... [--tops N]": "--tops",
    "$ mmbridge run my.yaml other.yaml": "too many arguments",
    "$ mmbridge run blip2_tinny": "blip2_tiny",
    "$ mmbridge run my.yaml run.nam=first": "'nam'",
    "$ mmbridge run blip2_tiny data.coco.images=/mnt": "data.coco",
    "$ mmbridge evaluate RUN --card coco_captions": "coco_caption",
    "$ mmbridge evaluate RUN --card coco_caption data.image=/mnt": "'image'",
    "$ mmbridge data capfilt configs/capfilt/blip_large.yaml outputs=/mnt": "output",
    "$ mmbridge cp cards/coco_captionn mine.yaml": "coco_caption",
    "$ MMBRIDGE_TOKEN=x mmbridge serve runs/x --hosts 0.0.0.0": "--hosts",
    "$ torchrun --nproc-per-node=8 -m mmbridge rum my.yaml": "rum",
    "$ srun bash -c \\\n  'RANK=$X exec mmbridge rum my.yaml' | tee log": "rum",
    "$ mmbridge show blip2_tiny \\\n      --yaml | head  # a comment": "--yaml",
}


@pytest.mark.parametrize("command", WRONG)
def test_a_wrong_command_line_is_found(command: str, tmp_path: Path) -> None:
    """The proof that the tests above can fail, and one line is one mistake."""
    (tmp_path / "wrong.md").write_text(f"# Wrong\n\n```console\n$ mmbridge ls\n{command}\n```\n")
    (mistake,) = mistakes_of_commands(documents(tmp_path))
    assert mistake.startswith("wrong.md:5: ") and WRONG[command] in mistake


def test_wrong_ones_in_the_text_are_found(tmp_path: Path) -> None:
    text = (
        "As `mmbridge trian my.yaml` or\n`mmbridge plan` and\n`mmbridge plan blip2_tiny --rank 2`,\n"
        "with `--workerz` or `run.nam`\nor `run.placement=shards` and `~stages.representations`, `data docter`,\n"
        "not `run.name=...`, `--workers` and `data doctor`.\n\n"
        "    mmbridge evaluate\n"
    )
    (tmp_path / "wrong.md").write_text(text)
    found = [mistake.split(" ")[0] for mistake in mistakes_of_commands(documents(tmp_path))]
    assert found == ["wrong.md:8:", "wrong.md:1:", "wrong.md:3:"]
    found = [mistake.split(" ")[0] for mistake in mistakes_in_the_text(documents(tmp_path))]
    assert found == ["wrong.md:4:", "wrong.md:4:", "wrong.md:5:", "wrong.md:5:", "wrong.md:5:"]
