"""The page: templates and values become one HTML file that needs nothing else."""

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from mmbridge import figures

FILTERS = ("count", "duration", "interval", "number", "score")


def rendered(template: str, **values: Any) -> str:
    """Fill a template in. Everything is escaped: captions are other people's words."""
    return _environment().get_template(template).render(values)


def put(page: str, target: Path) -> Path:
    """Write a page, whole or not at all; give its path."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.tmp")
    partial.write_text(page, encoding="utf-8")
    return partial.replace(target)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("mmbridge.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {name: getattr(figures, name) for name in FILTERS}
    return environment
