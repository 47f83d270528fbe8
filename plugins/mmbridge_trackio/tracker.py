"""One run of a project for one run directory, however often it goes on."""

import secrets
from collections.abc import Mapping
from typing import Any

import trackio  # pyright: ignore[reportMissingImports]
from mmbridge_registry import TrackedRun, Tracker

from mmbridge_trackio import TrackioOptions

NAME = "run.name"


class Trackio(Tracker):
    """Keeps numbers. Trackio knows runs by their names, so the directory remembers which one is its own."""

    def __init__(self, options: TrackioOptions) -> None:
        self.options = options
        self.run: Any = None

    def start(self, run: TrackedRun, step: int) -> None:
        known = run.folder / NAME
        if not known.exists():
            known.write_text(f"{run.name}-{secrets.token_hex(3)}")
        self.run = trackio.init(
            project=self.options.project,
            name=known.read_text(),
            group=self.options.group,
            space_id=self.options.space,
            config=dict(run.config),
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        self.run.log(dict(numbers), step=step)

    def finish(self) -> None:
        if self.run is not None:
            self.run.finish()
