"""What `mmbridge plan` foretells of a stage's memory against what a run's process really takes, on the CPU.

    python benchmarks/memory_forecast.py blip2_tiny_opt '~stages.representation.data' model.bridge.max_text_length=8 \\
        model.language_model.max_text_length=6 --batch-size 768
    python benchmarks/memory_forecast.py ... run.placement=shard --ranks 2

A forecast takes every text for as long as its tokenizer allows: there they are allowed what all of them have.

Every stage takes three steps in processes of its own. What is measured, on rank 0, is how far its resident size has
grown since before the model was built, at the fullest moment of the third step: in the second DDP makes its buckets
anew. glibc keeps small pieces of freed memory for itself, which no GPU's allocator does in this way: it is told to give
all of 64 KiB and more back at once.
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
    """Foretell the only stage of a recipe, then take its steps."""
    from mmbridge_registry.discovery import discover
    from rich.console import Console

    from mmbridge import runner
    from mmbridge.config import load_recipe
    from mmbridge.memory import foretell
    from mmbridge.outline import outline
    from mmbridge.stage_log import StageLog

    found = discover()
    recipe = load_recipe(config, overrides, found)
    (name,) = recipe.stages
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    foretold = foretell(recipe, outline(recipe, found.catalog), found.catalog, ranks)[name]
    before, peaks, stepped = resident("VmRSS"), [], StageLog.stepped

    def noted(log: StageLog, *step: object) -> None:
        peaks.append(resident("VmHWM"))
        Path("/proc/self/clear_refs").write_text("5")  # forgets the largest size so far
        stepped(log, *step)  # type: ignore[arg-type]

    StageLog.stepped = noted  # type: ignore[method-assign]
    runner.run(recipe, found, Console(quiet=True))
    of, grown = foretold.total, peaks[-1] - before
    gib = {key: round(value / 2**30, 3) for key, value in (("foretold", of), ("measured", grown))}
    return {"stage": name, "placement": foretold.placement, **gib, "foretold / measured": round(of / grown, 3)}


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
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--side", action="store_true", help="measure the only stage in this process")
    arguments = parser.parse_args()
    if arguments.side:
        told = measure(arguments.config, arguments.overrides)
        if os.environ.get("RANK", "0") == "0":
            print(json.dumps(told))
        return
    launched = ["-m", "torch.distributed.run", f"--nproc-per-node={arguments.ranks}"] if arguments.ranks > 1 else []
    for stage, other in (STAGES, STAGES[::-1]):
        short = [f"~stages.{other}", f"stages.{stage}.steps=3", f"stages.{stage}.batch_size={arguments.batch_size}"]
        with TemporaryDirectory() as folder:
            here = ["~evaluate", "run.device=cpu", f"run.directory={folder}", "run.workers=0", "run.threads=1"]
            told = [arguments.config, *arguments.overrides, *short, *here, "--side"]
            command = [sys.executable, *launched, __file__, *told]
            done = subprocess.run(command, env=os.environ | GIVES_BACK, capture_output=True, text=True, check=False)
        print(done.stdout.strip() or done.stderr[-500:], flush=True)


if __name__ == "__main__":
    main()
