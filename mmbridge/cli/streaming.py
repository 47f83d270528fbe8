"""What the commands that ask about images share: which files, a line for each as soon as it is known, progress."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer
from mmbridge_registry import UserError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

import mmbridge

if TYPE_CHECKING:
    from mmbridge.inference import Model

T = TypeVar("T")


@dataclass
class Asking:
    """A command under way: who is asked, about which images, and how lines are printed."""

    source: str
    images: Sequence[str]
    """Images and folders, as they were named."""
    stage: str | None
    batch_size: int
    json: bool
    unreadable: int = 0

    @cached_property
    def files(self) -> list[str]:
        """The images named, and those in the folders named.

        Raises:
            UserError: a folder has no images, or nothing that is named exists.
        """
        from mmbridge.data.images import images_in, open_image

        files: list[str] = []
        for image in self.images:
            files += map(str, images_in(image)) if Path(image).is_dir() else [image]
        if not any(Path(file).exists() for file in files):
            open_image(files[0])
        return files

    def each(self, ask: "Callable[[Model, list[Any]], Sequence[T]]") -> Iterator[tuple[str, T]]:
        """Give what `ask` has of the model for each file, in order, as soon as its batch is done.

        A file that cannot be read gets a line that says why, and the others go on; see `end`.

        Raises:
            UserError: it is the only file.
        """
        files = self.files
        model = mmbridge.load(self.source, self.stage)
        model.batch_size = self.batch_size
        with _progress(len(files), self.batch_size) as advance:
            for file, value, error in model.stream(files, partial(ask, model)):
                if error is None:
                    yield file, value  # type: ignore[misc]
                else:
                    self._complain(file, error)
                advance()

    def end(self) -> None:
        """End the command, with status 1 if a file could not be read."""
        if self.unreadable:
            raise typer.Exit(1)

    def say(self, file: str, words: object, **facts: Any) -> None:
        """Print a line about a file: words for people, facts for programs."""
        named = f"{file}: {words}" if len(self.files) > 1 else words
        typer.echo(dumps({"image": file, **facts}, ensure_ascii=False) if self.json else named)

    def _complain(self, file: str, error: UserError) -> None:
        if len(self.files) == 1:
            raise error
        self.unreadable += 1
        if self.json:
            self.say(file, "", error=error.what)
        else:
            typer.echo(str(error), err=True)


@contextmanager
def _progress(count: int, batch_size: int) -> Iterator[Callable[[], None]]:
    """Show a bar on a terminal if there is more than one batch; lines that are printed meanwhile stand above it."""
    shown = sys.stderr.isatty() and count > batch_size
    columns = BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    both = sys.stdout.isatty()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not shown, redirect_stdout=both) as bar:
        task = bar.add_task("", total=count)
        yield lambda: bar.advance(task)
