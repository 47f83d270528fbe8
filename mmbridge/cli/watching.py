"""How far a command is that writes shards, which stay when it is stopped."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mmbridge.cli.arguments import INTERRUPTED
from mmbridge.figures import count
from mmbridge.watch import Watch


@contextmanager
def watched(shown: bool) -> Iterator[Watch]:
    """Show a bar per task on a terminal, a line per tenth of a task elsewhere; Ctrl-C ends it quietly."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    terminal = sys.stderr.isatty()
    done: dict[str, int] = {}
    try:
        with Progress(*columns, console=Console(stderr=True), transient=True, disable=not (shown and terminal)) as bar:
            tasks: dict[str, Any] = {}

            def watch(what: str, total: int, more: int) -> None:
                before, done[what] = done.get(what, 0), done.get(what, 0) + more
                if what not in tasks:
                    tasks[what] = bar.add_task(what, total=total)
                bar.advance(tasks[what], more)
                if shown and not terminal and before * 10 // total < done[what] * 10 // total:
                    typer.echo(f"{what}: {count(done[what])} of {count(total)}", err=True)

            yield watch
    except KeyboardInterrupt:
        typer.echo("interrupted; whole shards stay, and the same command goes on.", err=True)
        raise typer.Exit(INTERRUPTED) from None
