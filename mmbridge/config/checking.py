"""Checking plain values against Options: strictly, with every mistake placed and explained."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar, get_args

from mmbridge_registry import Options
from mmbridge_registry.catalog import did_you_mean
from pydantic import BaseModel, ValidationError

from mmbridge.config.places import KeyPath, Problems

T = TypeVar("T", bound=Options)


def check(
    options: type[T], values: Mapping[str, Any], path: KeyPath, problems: Problems, owner: str, ours: Iterable[str] = ()
) -> T | None:
    """Turn plain values into Options, or note every mistake and give None.

    Strict, as JSON is: "no" is not a name that happens to be false, 1e5 is not an integer. `owner` is what messages
    call the part at fault; `ours` are keys of the same entry that are read elsewhere (for did-you-mean).
    """
    try:
        return options.model_validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        for key, whats in _by_key(error, options, values, owner, ours).items():
            problems.add((*path, *key), " Or: ".join(dict.fromkeys(whats)))
    except Exception as error:  # a stranger's validator may raise anything
        problems.add(path, f"{owner} failed to check its options: {type(error).__name__}: {error}")
    return None


def _by_key(
    error: ValidationError, options: type[Options], values: Mapping[str, Any], owner: str, ours: Iterable[str]
) -> dict[KeyPath, list[str]]:
    mistakes: dict[KeyPath, list[str]] = {}
    for one in error.errors(include_url=False):
        key = tuple(_written(one["loc"], values, missing=one["type"] == "missing"))
        if one["type"] == "extra_forbidden":
            known = [*_fields(options, key[:-1]), *(ours if len(key) == 1 else ())]
            what = f"{owner} has no option '{key[-1]}'{did_you_mean(key[-1], known)}"
        elif one["type"] == "missing":
            what = f"{owner} needs '{key[-1]}'."
        else:
            what = f"{owner}: {one['msg'].removeprefix('Value error, ')}{_got(one['input'])}."
        mistakes.setdefault(key, []).append(what)
    return mistakes


def _written(loc: tuple[int | str, ...], values: Any, missing: bool) -> Iterator[str]:
    """Give the keys of pydantic's `loc` that somebody wrote; it also holds names of union members."""
    for depth, key in enumerate(loc, start=1):
        try:
            values = values[key]
        except (KeyError, IndexError, TypeError):
            if not (missing and depth == len(loc)):
                continue
        yield str(key)


def _got(value: Any) -> str:
    return "" if isinstance(value, Mapping) else f" (got {value!r})"


def _fields(options: Any, path: KeyPath) -> list[str]:
    """List the fields of the Options found by walking `path` down from `options`."""
    model = _model_in(options)
    if model is None or not path:
        return list(model.model_fields) if model else []
    field = model.model_fields.get(path[0])
    rest = path[1:]
    if field is not None and _model_in(field.annotation) is None:
        return []
    return _fields(field.annotation, rest) if field else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)
