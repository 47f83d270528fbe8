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


def load(source: str | Path, stage: str | None = None, device: str = "auto") -> "Model":
    """Load what was trained: the newest checkpoint of `stage`, or of the last stage that has one.

    `source` is a run, an imported folder, or a checkpoint of another project (a file, a folder, a hub id that was
    fetched): that is imported into the user's cache, once.

    Raises:
        UserError: there is no such thing, no such stage or no checkpoint, or weights are not on this machine.
    """
    from mmbridge import loading

    return loading.load(source, stage, device)
