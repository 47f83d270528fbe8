"""What stays the same through all stages of a run."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mmbridge_registry.discovery import Discovered
from rich.console import Console

from mmbridge.engine import Engine
from mmbridge.leaving import Leaving
from mmbridge.model import BridgedModel
from mmbridge.recipe import Recipe
from mmbridge.run_directory import RunDirectory
from mmbridge.tracking import Tracking
from mmbridge.watchdog import Watchdog


@dataclass(frozen=True)
class Running:
    """A run under way: its recipe, its model, and where it writes and talks."""

    recipe: Recipe
    discovered: Discovered
    engine: Engine
    directory: RunDirectory
    model: BridgedModel
    console: Console
    leaving: Leaving
    watchdog: Watchdog
    tracking: Tracking

    def say(self, text: str) -> None:
        """Print on rank 0."""
        if self.engine.is_first:
            self.console.print(text, markup=False, soft_wrap=True, highlight=False)

    def tell(self, hook: str, **facts: object) -> None:
        """Call a hook of the run's life on rank 0."""
        if self.engine.is_first:
            getattr(self.discovered.hooks.hook, hook)(run=self.directory.path, **facts)

    def track(self, stage: str, first: int) -> None:
        """Tell the trackers, from rank 0, what was written; this process began the stage after `first` steps."""
        if self.engine.is_first:
            self.tracking.follow(stage, first, self.say)

    @contextmanager
    def tracked(self) -> Iterator[None]:
        """Let the trackers finish at the end of the block, however it ends."""
        try:
            yield
        finally:
            self.tracking.finish(self.say)
