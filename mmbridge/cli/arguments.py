"""Arguments that several commands take, and how they print."""

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

Config = Annotated[str, typer.Argument(help="A YAML file, or the name of a shipped config (`mmbridge ls`).")]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="path.to.key=value sets, ~path.to.key removes.", show_default=False)
]
RunFolder = Annotated[Path, typer.Argument(help="A run's or an import's folder (runs/NAME).", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

PIPE_WIDTH = 200
INTERRUPTED = 130
"""Exit code after Ctrl-C."""


def print_json(value: Any) -> None:
    """Print a value as JSON, for programs."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], numbers: int = 0) -> None:
    """Print rows under a title; the last `numbers` columns are aligned as numbers are."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index >= len(columns) - numbers else "left", header_style="dim")
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row))
    console = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False)
    console.print(table)
    console.print()
