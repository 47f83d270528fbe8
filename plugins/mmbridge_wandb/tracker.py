"""One run on the server for one run directory, however often it goes on."""

import secrets
from collections.abc import Mapping
from typing import Any

import wandb  # pyright: ignore[reportMissingImports]
from mmbridge_registry import TrackedRun, Tracker

from mmbridge_wandb import WandbOptions

ID = "run.id"
STEP = "step"
# wandb would write the user's name, the machine and the command line beside the numbers: a command line can hold
# what a config masks.
SETTINGS = {
    "silent": True,
    "console": "off",
    "disable_code": True,
    "disable_git": True,
    "x_disable_meta": True,
    "x_disable_machine_info": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
}


class Wandb(Tracker):
    """Sends numbers. wandb cannot take back what it has, so steps are a number of ours and are sent once."""

    def __init__(self, options: WandbOptions) -> None:
        self.options = options
        self.run: Any = None

    def start(self, run: TrackedRun, step: int) -> None:
        identity = run.folder / ID
        if not identity.exists():
            identity.write_text(secrets.token_hex(8))
        self.run = wandb.init(
            project=self.options.project,
            entity=self.options.entity,
            group=self.options.group,
            mode=self.options.mode,
            name=run.name,
            id=identity.read_text(),
            resume="allow",
            config=dict(run.config),
            dir=str(run.folder),
            settings=wandb.Settings(**SETTINGS),
        )
        self.run.define_metric(STEP)
        self.run.define_metric("*", step_metric=STEP)

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        self.run.log({**numbers, STEP: step})

    def finish(self) -> None:
        if self.run is not None:
            self.run.finish()
