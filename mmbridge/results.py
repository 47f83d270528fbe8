"""Results: what evaluation.json holds, and the table that shows it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmbridge_registry import UserError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mmbridge.figures import interval, score
from mmbridge.run_directory import RunDirectory

Results = dict[str, dict[str, Any]]
"""`{"<stage>/<evaluation>/<metric>": {"value", "chance", "ceiling", "interval", "n", "protocol", "step"}}`, as
evaluation.json holds it."""


def merge(path: Path, results: Results) -> None:
    """Put results into an evaluation.json beside those that stand there; the file changes at once or not at all."""
    if results:
        partial = path.with_suffix(".json.tmp")
        partial.write_text(json.dumps(read_results(path) | results, indent=1))
        partial.replace(path)


def read_results(path: Path) -> Results:
    """Read an evaluation.json; empty if nothing was evaluated yet.

    Raises:
        UserError: it is no JSON.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise UserError(f"not readable ({error}).", where=path, do="Remove it and evaluate again.") from error


def print_table(run: Path, console: Console) -> None:
    """Print every result of a run beside chance and ceiling."""
    results = read_results(RunDirectory(run).evaluation)
    if results:
        console.print(table_of(results))


def table_of(results: Mapping[str, Mapping[str, Any]]) -> Table:
    """Lay results out as a table, a block for each evaluation."""
    table = Table("metric", title="evaluation", title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in ("value", "95 %", "chance", "ceiling", "n"):
        table.add_column(column, justify="right", no_wrap=True)
    before = ""
    for key, result in results.items():
        stage, evaluation, metric = key.split("/", 2)
        if (block := f"{evaluation} after {stage}") != before:
            table.add_row(escape(block), style="bold")
            before = block
        value, chance, ceiling = (score(result.get(name)) for name in ("value", "chance", "ceiling"))
        within = interval(result.get("interval"))
        table.add_row(f"  {escape(metric)}", value, within, chance, ceiling, str(result["n"]))
    return table
