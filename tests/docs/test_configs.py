"""Every piece of YAML in the documents is one that mmbridge reads: sections, parts, options and their values."""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, get_args

import pytest
import yaml
from mmbridge_registry.catalog import Catalog
from pydantic import BaseModel, TypeAdapter, ValidationError
from toys import stand_ins
from toys.documents import ROOT, Document, Piece, documents, shipped

from mmbridge.capfilt.recipe import Settings as CapFiltSettings
from mmbridge.cards import Card
from mmbridge.recipe import DataSettings, EvaluateSettings, Features, ModelRecipe, Run, StageSettings
from mmbridge.sweep.declared import Settings as SweepSettings

OURS = (CapFiltSettings, Card, DataSettings, EvaluateSettings, Features, ModelRecipe, Run, StageSettings, SweepSettings)
"""What the framework itself reads in configs; parts have options beside these."""
PAIR = re.compile(r"[a-z_]+: \S.*|\{name: .*\}")


def mistakes_of_blocks(read: Sequence[Document], folder: Path) -> list[str]:
    """Name every block of YAML that is no part of a config."""
    found = []
    for block in (block for document in read for block in document.blocks if block.language in ("yaml", "yml")):
        try:
            values = yaml.safe_load(block.text)
        except yaml.YAMLError as error:
            found.append(f"{block.where}: {' '.join(str(error).split())}")
            continue
        if why := stand_ins.refused_fragment(block.text, values, folder):
            found.append(f"{block.where}: {why}")
    return found


def mistakes_in_the_text(read: Sequence[Document]) -> list[str]:
    """Name every `option: value` and every `{name: part, option: value}`, in inline code, that there is not."""
    wrong = [(code, misread(code.text)) for document in read for code in pairs(document)]
    return [f"{code.where}: {code.text}: {why}" for code, why in wrong if why]


def pairs(document: Document) -> list[Piece]:
    """Give the inline code that is a piece of YAML."""
    return [code for code in document.codes if PAIR.fullmatch(code.text)]


def misread(text: str) -> str | None:
    """Why no part has such options, or (without a name) neither a part nor the framework itself."""
    values = yaml.safe_load(text)
    name = values.pop("name", None)
    offers = [offer for offer in catalog().offers() if name in (None, offer.name)]
    if not offers:
        return "there is no such part"
    known = [offer.options for offer in offers] + ([] if name else [*OURS])
    if any(all(_takes(owner, key, value) for key, value in values.items()) for owner in _with_inner(known)):
        return None
    return "there is no such option, or it does not take this"


@cache
def catalog() -> Catalog:
    """All parts."""
    return stand_ins.found().catalog


def _with_inner(owners: Sequence[type[BaseModel]]) -> Iterator[type[BaseModel]]:
    """Give models of options, and those that stand inside them (`optimizer: {lr: ...}`)."""
    for owner in owners:
        yield owner
        for one in owner.model_fields.values():
            inner = [one.annotation, *get_args(one.annotation)]
            yield from _with_inner([kind for kind in inner if isinstance(kind, type) and issubclass(kind, BaseModel)])


def _takes(owner: type[BaseModel], key: str, value: Any) -> bool:
    field = owner.model_fields.get(key)
    if field is None:
        return False
    try:
        TypeAdapter(Annotated[field.annotation, *field.metadata, None]).validate_python(value)
    except ValidationError:
        return False
    return True


def test_every_block_is_a_part_of_a_config(tmp_path: Path) -> None:
    assert mistakes_of_blocks(shipped(), tmp_path) == []


def test_no_block_is_overlooked() -> None:
    """Counted another way: every fence that says yaml."""
    read = shipped()
    fences = sum(document.text.count("```yaml\n") for document in read)
    assert sum(block.language == "yaml" for document in read for block in document.blocks) == fences >= 8


def test_options_in_the_text_exist() -> None:
    docs = documents(ROOT / "docs")  # the README's plugin is its own, and tests/test_readme.py installs it
    assert mistakes_in_the_text(docs) == []
    assert sum(len(pairs(document)) for document in docs) >= 10


WRONG = {
    "stages: {generation: {batch_size: 8}": "while parsing",
    "stage:\n  generation: {batch_size: 8}": "no section 'stage'",
    "run: {\n  keep_bets: captions/exact}": "'keep_bets'",
    "run:\n  keep_best: caption/exact": "no evaluation 'caption'",
    "data:\n  mine: {name: image_text, annotation: mine.jsonl}": "'annotation'",
    "data:\n  mine: {name: image_texts}": "image_texts",
    "evaluate:\n  vqav2: {card: vqav2_flan, data: {images: coco}}": "vqav2_flan",
    "evaluate:\n  answers: {name: vqa_accuracy, rules: lavish, data: {name: gqa, questions: q, images: i}}": "lavis",
    "features: {folders: x}": "folder",
    "trackers: {wandb: {projects: x}}": "projects",
    "model:\n  vision_encoder: {name: clip_vit}": "bridge",
    "config: blip2_tiny_opt\nvariants: {full: [stages.representations.steps=2]}\nseeds: [0]": "representations",
    "data: {name: image_tars, tars: x}\ncaptioner: {name: blip, weight: x}\noutput: y": "weight",
    "card: 1\ntask: x\nsources: y": "sources",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_block_is_found(text: str, tmp_path: Path) -> None:
    """The proof that the tests above can fail."""
    (tmp_path / "wrong.md").write_text(f"# Wrong\n\n```yaml\nrun: {{seed: 1}}\n```\n\n```yaml\n{text}\n```\n")
    (mistake,) = mistakes_of_blocks(documents(tmp_path), tmp_path)
    assert mistake.startswith("wrong.md:8: ") and WRONG[text] in mistake


def test_wrong_options_in_the_text_are_found(tmp_path: Path) -> None:
    right = "`views: 2` `rules: lavis` `{name: run, path: runs/x}` `lr: 1.0`"
    wrong = "`view: 2` `rules: lavish` `{name: runs, path: runs/x}` `{name: run, paths: runs/x}` `views: 0`"
    (tmp_path / "wrong.md").write_text(f"{right}\n{wrong}\n")
    found = mistakes_in_the_text(documents(tmp_path))
    assert [mistake.split(": ")[0] for mistake in found] == ["wrong.md:2"] * 5, found
