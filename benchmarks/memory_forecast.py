"""What `mmbridge plan` foretells of a stage's memory against what a run's process really takes, on the CPU.

    python benchmarks/memory_forecast.py blip2_tiny_opt '~stages.representation.data' model.bridge.max_text_length=8 \\
        model.language_model.max_text_length=6 --batch-size 256

A forecast takes every text for as long as its tokenizer allows: there they are allowed what all of them have.

Every stage takes two steps in a process of its own. What is measured is how far its resident size grows from before the
model is built until before the first checkpoint. glibc keeps small pieces of freed memory for itself, which no GPU's
allocator does in this way: it is told to give all of 64 KiB and more back at once.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

GIVES_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
STAGES = ("representation", "generation")


def measure(config: str, overrides: list[str]) -> dict[str, object]:
    """Foretell the last stage of a recipe, then take its steps."""
    from mmbridge_registry.discovery import discover
    from rich.console import Console

    from mmbridge import runner
    from mmbridge.config import load_recipe
    from mmbridge.memory import foretell
    from mmbridge.outline import outline
    from mmbridge.stage_log import StageLog

    found = discover()
    recipe = load_recipe(config, overrides, found)
    name = list(recipe.stages)[-1]
    foretold = foretell(recipe, outline(recipe, found.catalog), found.catalog, ranks=1)[name]
    before, peaks, stepped = resident("VmRSS"), [], StageLog.stepped

    def noted(log: StageLog, *step: object) -> None:
        peaks.append(resident("VmHWM"))
        stepped(log, *step)  # type: ignore[arg-type]

    StageLog.stepped = noted  # type: ignore[method-assign]
    Path("/proc/self/clear_refs").write_text("5")  # forgets the largest size so far
    runner.run(recipe, found, Console(quiet=True))
    grown = peaks[-1] - before
    gib = {key: round(value / 2**30, 3) for key, value in (("foretold", foretold.total), ("measured", grown))}
    return {"stage": name, **gib, "foretold / measured": round(foretold.total / grown, 3)}


def resident(which: str) -> int:
    """Bytes that this process has in memory (`VmRSS`), or had at most (`VmHWM`)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(which))


def main() -> None:
    """Print a JSON object per stage."""
    parser = argparse.ArgumentParser(description="Memory as it is foretold, and as it is.")
    parser.add_argument("config")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--side", action="store_true", help="measure the last stage in this process")
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(measure(arguments.config, arguments.overrides)))
        return
    for stage, other in (STAGES, STAGES[::-1]):
        short = [f"~stages.{other}", f"stages.{stage}.steps=2", f"stages.{stage}.batch_size={arguments.batch_size}"]
        with TemporaryDirectory() as folder:
            here = ["~evaluate", "run.device=cpu", f"run.directory={folder}", "run.workers=0", "run.threads=1"]
            command = [sys.executable, __file__, arguments.config, *arguments.overrides, *short, *here, "--side"]
            done = subprocess.run(command, env=os.environ | GIVES_BACK, capture_output=True, text=True, check=False)
        print(done.stdout.strip() or done.stderr[-500:], flush=True)


if __name__ == "__main__":
    main()
