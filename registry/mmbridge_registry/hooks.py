"""The hooks: one that gives parts, and those of a run's life."""

from collections.abc import Mapping
from pathlib import Path

import pluggy

from mmbridge_registry.catalog import Catalog

PROJECT = "mmbridge"
API_VERSION = 1
"""Version of the contract: the next one may break a part that kept this one."""
STATED = "mmbridge_api"
"""Name in a plugin's module for the version that it was written for; without it, whichever there is."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def offer_parts(catalog: Catalog) -> None:
    """Offer parts and shipped weights; called once per plugin, and must not import torch."""


@hookspec
def run_started(run: Path) -> None:
    """A run begins or goes on in directory `run` (rank 0 only, as all hooks below)."""


@hookspec
def stage_started(run: Path, stage: str, step: int) -> None:
    """A stage begins (`step` 0) or goes on after `step` finished steps."""


@hookspec
def step_finished(run: Path, stage: str, step: int, metrics: Mapping[str, float]) -> None:
    """Optimizer step number `step` (from 1) was taken and logged."""


@hookspec
def checkpoint_saved(run: Path, stage: str, step: int, checkpoint: Path) -> None:
    """A checkpoint stands complete on disk."""


@hookspec
def stage_finished(run: Path, stage: str) -> None:
    """A stage took all its steps and was evaluated."""


@hookspec
def run_finished(run: Path) -> None:
    """All stages are done and their results are written; reports are made here."""
