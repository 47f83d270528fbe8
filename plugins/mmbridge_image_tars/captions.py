"""Captions: what the json and the txt beside an image say of it."""

import json
from collections.abc import Sequence
from typing import Any

from mmbridge_image_tars import ImageTarsOptions

FIELDS = ("captions", "caption", "text")


def parse(content: bytes) -> Any:
    """Parse the json of a sample.

    Raises:
        ValueError: it is none.
    """
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its json cannot be read ({error})") from error


def captions_in(said: Any, options: ImageTarsOptions) -> tuple[str, ...]:
    """Give the captions in a json: of its field, or the json itself if it is a text or a list of texts."""
    scores = None
    if isinstance(said, dict):
        fields = (options.caption_field,) if options.caption_field else FIELDS
        field = next((field for field in fields if said.get(field)), "")
        scores, said = said.get(field.replace("captions", "scores")), said.get(field)
    given = said if isinstance(said, list) else [said]
    return tuple(sound(text) for text in _best(given, scores, options.best) if isinstance(text, str) and text)


def caption_of(text: bytes) -> tuple[str, ...]:
    """Give the caption in a txt.

    Raises:
        ValueError: it is not UTF-8.
    """
    caption = text.decode("utf-8-sig").strip()
    return (caption,) if caption else ()


def facts_in(said: Any, fields: Sequence[str]) -> dict[str, Any]:
    """Give the fields of a json that a record keeps."""
    return {field: said[field] for field in fields if field in said} if isinstance(said, dict) else {}


def sound(text: str) -> str:
    """Replace halves of surrogate pairs, which JSON may hold and UTF-8, and so a tokenizer, may not."""
    return text.encode(errors="replace").decode()


def _best(texts: list[Any], scores: Any, count: int | None) -> list[Any]:
    if count is None or not _ranks(scores, texts):
        return texts[:count]
    return [texts[place] for place in sorted(range(len(texts)), key=lambda place: -scores[place])[:count]]


def _ranks(scores: Any, texts: list[Any]) -> bool:
    numbers = isinstance(scores, list) and all(isinstance(score, int | float) for score in scores)
    return numbers and len(scores) == len(texts)
