"""A published file is known by its content, under any name."""

from pathlib import Path

import pytest
from mmbridge_registry.discovery import discover
from mmbridge_registry.kinds import DATASET
from mmbridge_registry.published_files import LAYOUTS, misfit, recognise
from toys.annotation_files import PUBLISHED, write

READERS = {
    "karpathy": "coco_captions",
    "coco": "coco_captions",
    "nocaps": "nocaps",
    "vqa questions": "vqa (as its questions)",
    "vqa answers": "vqa (as its answers)",
    "gqa": "gqa",
    "genome": "visual_genome",
    "sbu": "web_captions",
    "lavis": "lavis_annotations",
    "cc3m": "web_captions",
    "cc12m": "web_captions",
}


@pytest.mark.parametrize("kind", PUBLISHED)
def test_every_kind_is_known(kind: str, tmp_path: Path) -> None:
    known = recognise(write(tmp_path / "a.csv", PUBLISHED[kind]))
    assert known is not None
    assert known[1].startswith(READERS[kind])


@pytest.mark.parametrize("content", ["", "{", "[]", "\0\xff", {"a": 1}, [[1]], "just words\n", {"images": []}])
def test_what_is_unknown_is_not_guessed(content: object, tmp_path: Path) -> None:
    path = write(tmp_path / "a", content)
    assert recognise(path) is None
    assert str(misfit(path, "pears", "rows of pears")) == f"{path}: these are no pears. Give rows of pears."


def test_the_datasets_that_are_named_exist() -> None:
    names = {offer.name for offer in discover().catalog.offers() if offer.kind is DATASET}
    assert {reader.partition(" ")[0] for _, reader, _ in LAYOUTS} | {"web_captions", "image_text"} <= names
