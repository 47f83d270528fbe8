"""Marked options: the fields of a part that name something outside the config, weights or annotation files."""

from collections.abc import Iterable
from typing import Any, NamedTuple, get_args

from mmbridge.recipe import Chosen


class Named(NamedTuple):
    """A field that names something, and where the config says so."""

    field: str
    value: Any
    where: str


def marked(chosen: Chosen, mark: type) -> list[Named]:
    """List the fields of a part whose type carries a mark; those that are None name nothing."""
    options = chosen.options
    fields = type(options).model_fields.items()
    names = [name for name, field in fields if _carries(mark, field.metadata, field.annotation)]
    named = ((name, getattr(options, name)) for name in names)
    return [Named(name, value, chosen.where_of(name)) for name, value in named if value is not None]


def _carries(mark: type, metadata: Iterable[Any], annotation: Any) -> bool:
    inner = get_args(annotation)
    return any(isinstance(one, mark) for one in (*metadata, *inner)) or any(_carries(mark, (), one) for one in inner)
