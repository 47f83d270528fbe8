"""mmbridge: assemble vision-language models out of plugins and train the bridge between frozen towers.

    import mmbridge

    model = mmbridge.load("runs/blip2_tiny")
    model.caption(["cat.jpg"])

Importing this package does not import torch; `load` does.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmbridge.inference import Model

__all__ = ["load"]


def load(run: str | Path, stage: str | None = None, device: str = "auto") -> "Model":
    """Load what a run has trained: the newest checkpoint of `stage`, or of its last stage that has one.

    Raises:
        UserError: the directory is no run, has no such stage or no checkpoint, or weights are not on this machine.
    """
    from mmbridge import loading

    return loading.load(run, stage, device)
