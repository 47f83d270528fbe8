"""`fetch`: the only command that downloads."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from mmbridge_registry import MmbridgeError
from mmbridge_registry.discovery import discover
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from mmbridge import annotation_files, weights
from mmbridge.annotation_files import Fetched, Missing
from mmbridge.capfilt.recipe import is_capfilt, load_capfilt
from mmbridge.cli.arguments import INTERRUPTED, Json, Overrides, print_json
from mmbridge.config import load_recipe

app = typer.Typer()

What = Annotated[str, typer.Argument(help="A config, or a hub id (owner/name, owner/name@revision).")]


@dataclass(frozen=True)
class _Report:
    """What is said of each thing as soon as it is here; as JSON all at the end."""

    json: bool
    weights: dict[str, str]
    annotations: list[dict[str, Any]]
    missing: list[str]

    def say(self, text: str) -> None:
        if not self.json:
            typer.echo(text)


@app.command()
def fetch(config: What, overrides: Overrides = None, json: Json = False) -> None:
    """Download the weights and published annotation files of a config, or one hub id; nothing else downloads."""
    report = _Report(json, {}, [], [])
    if weights.HUB_ID.fullmatch(config) and not (config.endswith((".yaml", ".yml")) or Path(config).exists()):
        report.weights[config] = str(weights.download(config))
        report.say(f"fetched {config}: {report.weights[config]}")
    else:
        _fetch(config, overrides or [], report)
    if json:
        print_json({"weights": report.weights, "annotations": report.annotations, "missing": report.missing})
    for line in report.missing:
        typer.echo(line, err=True)
    if report.missing:
        raise typer.Exit(1)


def _fetch(config: str, overrides: list[str], report: _Report) -> None:
    found = discover()
    recipe = (load_capfilt if is_capfilt(config) else load_recipe)(config, overrides, found)
    for name, folder in weights.fetch(recipe, found.catalog):
        report.say(f"fetched {name}: {folder}")
    for name, folder in weights.locate_all(recipe, found.catalog).items():
        report.weights[name] = str(folder)
        report.say(f"{name}: {folder}")
    absent = annotation_files.missing(recipe, found.catalog)
    with _bars(report.json) as show:
        _note(annotation_files.fetch(absent, show), report)
    report.missing.extend(_nowhere(one) for one in absent if one.source is None)


def _note(results: Iterable[Fetched | MmbridgeError], report: _Report) -> None:
    for result in results:
        if isinstance(result, MmbridgeError):
            report.missing.append(str(result))
            continue
        entry = {"path": str(result.path), "url": result.url, "checksum": result.checksum}
        report.annotations.append(entry | {"published": result.published})
        sure = "as published" if result.published else "none is published: this one was recorded beside it, on trust"
        report.say(f"fetched {result.path}: from {result.url}, {result.checksum} ({sure})")


def _nowhere(one: Missing) -> str:
    return (
        f"{one.where}: {one.path} is not here, and no plugin knows where a file called '{one.path.name}' is published. "
        "Put it there, correct the path, or leave the data set out (~data.NAME)."
    )


@contextmanager
def _bars(quiet: bool) -> Iterator[Callable[[str, int, int | None], None]]:
    """Show a bar per address on a terminal; elsewhere say once that a download begins."""
    tasks: dict[str, TaskID] = {}
    live = sys.stderr.isatty()
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn()
    bar = Progress(*columns, console=Console(stderr=True), transient=True, disable=not live)

    def show(url: str, done: int, total: int | None) -> None:
        if url not in tasks:
            tasks[url] = bar.add_task(url.rpartition("/")[2])
            if not live and not quiet:
                typer.echo(f"fetching {url}", err=True)
        bar.update(tasks[url], completed=done, total=total)

    try:
        with bar:
            yield show
    except KeyboardInterrupt:
        typer.echo("interrupted; the same command goes on from there.", err=True)
        raise typer.Exit(INTERRUPTED) from None
