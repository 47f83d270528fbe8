"""A sweep: what its YAML says, and every run that follows from it. Torch-free."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from mmbridge_registry import Options, UserError
from pydantic import Field, NonNegativeInt

from mmbridge.due import due
from mmbridge.recipe import Recipe
from mmbridge.run_directory import RunDirectory


class Settings(Options):
    """What the YAML of a sweep says."""

    config: str
    """What is varied: a file beside the sweep's, or a shipped config's name."""
    overrides: tuple[str, ...] = ()
    """Overrides of every variant, as on the command line."""
    variants: dict[str, tuple[str, ...]] = Field(min_length=1)
    """Overrides of each variant; the first variant is what the others are compared with."""
    seeds: tuple[NonNegativeInt, ...] = Field(min_length=1)
    """Every variant is run with each of these; a list that has grown only adds runs."""
    compare: tuple[str, ...] = ()
    """Results to compare, named as in evaluation.json, with the stage or without (`captions/exact`); all if empty."""


@dataclass(frozen=True)
class Planned:
    """One run of a sweep: a variant with a seed."""

    variant: str
    seed: int
    recipe: Recipe
    arguments: tuple[str, ...]
    """What `mmbridge` is called with."""

    @property
    def name(self) -> str:
        """Name of the run's folder."""
        return self.directory.path.name

    @property
    def directory(self) -> RunDirectory:
        """The run's folder."""
        return RunDirectory.of(self.recipe)

    @property
    def output(self) -> Path:
        """The file of what the run prints."""
        return self.directory.path.with_name(f"{self.name}.txt")

    @property
    def command(self) -> str:
        """The command that carries it out, for a shell."""
        return shlex.join(("mmbridge", *self.arguments))

    @property
    def is_finished(self) -> bool:
        """Say whether the last stage was trained and everything evaluated."""
        last, stage = list(self.recipe.stages.items())[-1]
        ends = {name: stage.steps for name, stage in self.recipe.stages.items()}
        trained = (self.directory.checkpoints(last) / f"step-{stage.steps:08d}").is_dir()
        return trained and not any(due(self.recipe, name, self.directory, step) for name, step in ends.items())


@dataclass(frozen=True)
class Sweep:
    """A sweep, every run of it checked."""

    settings: Settings
    folder: Path
    """Where its runs lie, and what is written of all of them together."""
    runs: tuple[Planned, ...]
    """Seed by seed, so that a sweep can be compared before it is finished."""

    @property
    def reference(self) -> str:
        """The variant that the others are compared with."""
        return next(iter(self.settings.variants))

    def check(self) -> None:
        """Refuse to go on with other runs than those that began here.

        Raises:
            UserError: the folder is a run, or one of its runs began with another recipe.
        """
        if RunDirectory(self.folder).resolved.exists():
            do = "Give the sweep's file another name, or set run.directory=..."
            raise UserError("a sweep keeps its runs in this folder, and it is a run itself.", where=self.folder, do=do)
        for run in self.runs:
            run.directory.check(run.recipe)
