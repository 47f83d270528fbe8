"""What stays the same through all stages of a run."""

from dataclasses import dataclass

from mmbridge_registry.discovery import Discovered
from rich.console import Console

from mmbridge.engine import Engine
from mmbridge.model import BridgedModel
from mmbridge.recipe import Recipe
from mmbridge.run_directory import RunDirectory


@dataclass(frozen=True)
class Running:
    """A run under way: its recipe, its model, and where it writes and talks."""

    recipe: Recipe
    discovered: Discovered
    engine: Engine
    directory: RunDirectory
    model: BridgedModel
    console: Console

    def say(self, text: str) -> None:
        """Print on rank 0."""
        if self.engine.is_first:
            self.console.print(text, markup=False, soft_wrap=True, highlight=False)

    def tell(self, hook: str, **facts: object) -> None:
        """Call a hook of the run's life on rank 0."""
        if self.engine.is_first:
            getattr(self.discovered.hooks.hook, hook)(run=self.directory.path, **facts)
