"""From a file to plain values: read, merge with its base, override, resolve references."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmbridge_registry import UserError

from mmbridge.config.document import parse
from mmbridge.config.interpolation import resolve
from mmbridge.config.merging import merged
from mmbridge.config.overrides import override
from mmbridge.config.places import Problems
from mmbridge.config.shipped import find_config

MODELS = ("model", "captioner", "scorer")
"""Sections whose weights may lie beside the config."""


def read_values(config: str | Path, overrides: Sequence[str], problems: Problems) -> tuple[Path, dict[str, Any]]:
    """Find a config and read it, with its base, overrides and references, as plain values.

    Raises:
        UserError: no such config, or one that cannot be read at all.
    """
    source = find_config(config)
    values = override(_beside(source, _with_base(source, problems)), overrides, problems)
    return source, resolve(values, problems)


def _beside(source: Path, values: dict[str, Any]) -> dict[str, Any]:
    """Make paths of models that begin with ./ absolute: what lies beside a config moves with it."""

    def absolute(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: absolute(inner) for key, inner in value.items()}
        return str((source.parent / value).absolute()) if isinstance(value, str) and value.startswith("./") else value

    return {key: absolute(value) if key in MODELS else value for key, value in values.items()}


def read_yaml(file: Path, problems: Problems | None = None) -> dict[str, Any]:
    """Read a YAML file as plain values, without checking what they mean; `problems` learns where its keys stand.

    Raises:
        UserError: it cannot be read as YAML.
    """
    return _read(file, problems or Problems())


def base_of(config: Path) -> Path | None:
    """Give the path of a config's base file, if it names one."""
    base = read_yaml(config).get("base")
    return config.parent / base if base else None


def _with_base(source: Path, problems: Problems) -> dict[str, Any]:
    values = _read(source, problems)
    if "base" not in values:
        return values
    base, where = values.pop("base"), problems.where(("base",))
    if not isinstance(base, str) or not (source.parent / base).is_file():
        raise UserError(f"there is no base file {base!r}.", where=where, do="Its path is relative to this file.")
    below = Problems()
    foundation = _read(source.parent / base, below)
    if "base" in foundation:
        do = "Say everything in one base file."
        raise UserError("a base file cannot have a base itself.", where=below.where(("base",)), do=do)
    problems.places = {**below.places, **problems.places}
    return merged(foundation, values)


def _read(file: Path, problems: Problems) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot be read: {error}.", where=file) from None
    values = parse(text, lambda line: f"{file}:{line}", problems)
    mapping = problems.mapping((), values)
    problems.stop_if_any()
    return mapping or {}
