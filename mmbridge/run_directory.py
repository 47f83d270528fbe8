"""The run directory: everything that a run leaves behind, and whether it may be gone on with."""

import fcntl
import json
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmbridge_registry import UserError

from mmbridge.config import as_yaml, read_yaml
from mmbridge.recipe import Recipe
from mmbridge.weights import repository

# What may change between two calls of one run: how it is carried out, not what it learns.
FREE = ("evaluate", "trackers", "features.folder", "run.name", "run.directory", "run.device", "run.workers",
        "run.threads", "run.checkpoint_every", "run.keep_checkpoints", "run.keep_best", "run.log_every",
        "run.placement", "run.checkpoint_activations", "run.max_bad_fraction", "run.rank_timeout", "run.late_after",
        "run.check_gradients")  # fmt: skip


RUNNING = ".running"
"""File that the process which works in a run has locked, and in which it says who it is."""


class RunDirectory:
    """`runs/<name>/`, with one attribute or method per thing in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.resolved = path / "config.resolved.yaml"
        self.lock = path / "run.lock.json"
        self.metrics = path / "metrics.jsonl"
        self.evaluation = path / "evaluation.json"
        self.quarantine = path / "quarantine.jsonl"
        self.report = path / "report.html"
        self.trackers = path / "trackers"
        self.logs = path / "logs"

    @classmethod
    def of(cls, recipe: Recipe) -> "RunDirectory":
        """Give the directory of a recipe; nothing is created."""
        return cls(recipe.run.directory / (recipe.run.name or recipe.source.stem))

    @classmethod
    def around(cls, path: Path) -> "RunDirectory":
        """Give the run that a path is, or the one of which it is a checkpoint."""
        above = path.resolve().parents
        return cls(above[2] if len(above) > 2 and above[1].name == "checkpoints" else path)

    def checkpoints(self, stage: str) -> Path:
        """Folder of a stage's checkpoints."""
        return self.path / "checkpoints" / stage

    def samples(self, stage: str, evaluation: str) -> Path:
        """Folder of the examples of an evaluation."""
        return self.path / "samples" / stage / evaluation

    def predictions(self, stage: str, evaluation: str) -> Path:
        """File of everything that was predicted in an evaluation."""
        return self.path / "predictions" / stage / f"{evaluation}.jsonl"

    def answers(self, stage: str, evaluation: str) -> Path:
        """Folder of what the model has answered in an evaluation that is not finished."""
        return self.path / "predictions" / stage / f"{evaluation}.partial"

    def unfinished(self, stage: str) -> list[Path]:
        """Folders of what the model has answered in evaluations of a stage that are not finished."""
        return [*self.answers(stage, "").parent.glob("*.partial")]

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from working in this run: each would take the other's checkpoints away.

        The lock goes with the process, however it ends.

        Raises:
            UserError: another process works here; the message says which.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / RUNNING).open("a+") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError) as error:
                file.seek(0)
                what = f"another process works in this run ({file.read().strip()})."
                raise UserError(what, where=self.path, do="Wait for its end, or name another: run.name=...") from error
            except OSError:  # a disk that knows no locks
                pass
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}")
            file.flush()
            yield

    def check(self, recipe: Recipe) -> None:
        """Refuse to go on with another recipe than the one that began here.

        Raises:
            UserError: the first keys that differ, and how to go on.
        """
        if not self.resolved.exists():
            if self.path.exists() and any(one.name != RUNNING for one in self.path.iterdir()):
                raise UserError("it is not empty and not a run.", where=self.path, do="Choose another run.name=...")
            return
        before, now = flat(read_yaml(self.resolved)), flat(recipe.resolved)
        changed = [
            key
            for key in sorted(before.keys() | now.keys())
            if _unpinned(before.get(key)) != _unpinned(now.get(key))
            and not key.startswith(FREE)
            and not key.endswith(".micro_batch_size")
        ]
        if changed:
            key = changed[0]
            more = f" (and {len(changed) - 1} more keys)" if len(changed) > 1 else ""
            raise UserError(
                f"this run began with {key} = {before.get(key)}, now it is {now.get(key)}{more}.",
                where=self.path,
                do="Give the new run a name of its own: run.name=..., or undo the change.",
            )

    def write_start(self, recipe: Recipe, lock: Mapping[str, Any]) -> None:
        """Write what the run is: the config as written and resolved, and all else that it depends on."""
        self.path.mkdir(parents=True, exist_ok=True)
        if not self.config.exists():
            shutil.copyfile(recipe.source, self.config)
        self.resolved.write_text(as_yaml(recipe.resolved))
        self.lock.write_text(json.dumps(lock, indent=1))


def _unpinned(value: Any) -> Any:
    # Naming the commit that a hub id stood for changes nothing; whether it is that commit, the lock knows.
    return repository(value) if isinstance(value, str) else value


def flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Give the leaves of a tree by their paths, joined by points."""
    if not isinstance(tree, Mapping):
        return {prefix: tree}
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        leaves |= flat(value, f"{prefix}.{key}" if prefix else str(key))
    return leaves
