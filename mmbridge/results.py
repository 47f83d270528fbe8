"""Results: what evaluation.json holds, and the table that shows it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmbridge_registry import UserError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mmbridge.disk import publish
from mmbridge.figures import interval, score
from mmbridge.run_directory import RunDirectory

Results = dict[str, dict[str, Any]]
"""`{"<stage>/<evaluation>/<metric>": {"value", "chance", "ceiling", "interval", "n", "protocol", "step"}}`, as
evaluation.json holds it. With `shuffled: true` also `"shuffled"`, the value with every image exchanged; by a
card also `"card": {"name", "version", "model", "deviations"}` and, if the card has a value for the model, `"expected":
{"value", "tolerance", "source", "model"}`."""

COLUMNS = ("value", "paper", "95 %", "chance", "shuffled", "ceiling", "n")
ALWAYS = ("value", "95 %", "chance", "ceiling", "n")
"""Columns that are there even if all of a column is empty."""


def merge(path: Path, results: Results) -> None:
    """Put results into an evaluation.json beside those that stand there."""
    if results:
        write_results(path, read_results(path) | results)


def write_results(path: Path, results: Results) -> None:
    """Write an evaluation.json; the file changes at once or not at all."""
    publish(path, 0, lambda partial: partial.write_text(json.dumps(results, indent=1)))


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
    """Lay results out as a table, a block for each evaluation; below it, by which cards they were made."""
    columns = [one for one in COLUMNS if one in ALWAYS or any(_cell(one, result) for result in results.values())]
    table = Table("metric", title="evaluation", title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    blocks: dict[str, Any] = {}
    for key, result in results.items():
        stage, evaluation, metric = key.split("/", 2)
        if (block := f"{evaluation} after {stage}") not in blocks:
            blocks[block] = result.get("card")
            table.add_row(escape(block), style="bold")
        table.add_row(f"  {escape(metric)}", *(_cell(column, result) for column in columns))
    table.caption = "\n".join(escape(f"{block}: {by_card(card)}") for block, card in blocks.items() if card) or None
    table.caption_justify = "left"
    return table


def by_card(card: Mapping[str, Any]) -> str:
    """Say in a line how an evaluation stands to its card."""
    said = f"card {card['name']}, version {card['version']}, "
    said += f"but {'; '.join(card['deviations'])}." if card["deviations"] else "as the card says."
    if card["model"] is None:
        said += " The card has no values for this model."
    return said + (f" Unverified: {card['unverified']}." if card.get("unverified") else "")


def _cell(column: str, result: Mapping[str, Any]) -> str:
    match column:
        case "n":
            return str(result["n"])
        case "95 %":
            return interval(result.get("interval"))
        case "paper":
            expected = result.get("expected")
            return f"{score(expected['value'])} ± {score(expected['tolerance'])}" if expected else ""
        case "shuffled":  # empty, and not a dash, where the probe was not made
            return score(result["shuffled"]) if "shuffled" in result else ""
        case _:
            return score(result.get(column))
