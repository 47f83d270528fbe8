"""Local ranks: one process per GPU, started by torchrun's own launcher."""

import os
import subprocess
import sys
from collections.abc import Sequence

import torch

from mmbridge.recipe import Run


def ranks_to_start(run: Run) -> int:
    """Tell how many local ranks a run wants: one per GPU, and none where a launcher has already started some."""
    if "WORLD_SIZE" in os.environ or run.device == "cpu":
        return 1
    return max(1, torch.cuda.device_count())


def relaunch(ranks: int, arguments: Sequence[str]) -> int:
    """Run this command line again on `ranks` local ranks and give its exit status."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    return subprocess.run([*command, "-m", "mmbridge", *arguments], check=False).returncode
