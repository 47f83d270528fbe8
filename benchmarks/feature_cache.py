"""Time an epoch of stage 1 with the encoder and with its features on disk, in one run.

    python benchmarks/feature_cache.py --images 1024 --batch-size 32

A random ViT-B/16 at 224 pixels in front of a Q-Former, on JPEGs made for the purpose. Both epochs read the same samples
in the same order; the ratio is what counts.
"""

import argparse
import io
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from mmbridge_registry.discovery import discover
from PIL import Image
from rich.console import Console

from mmbridge.config import load_recipe
from mmbridge.features.writing import Writer
from mmbridge.runner import run

CONFIG = """
model:
  vision_encoder: {{name: timm_vit, weights: random, architecture: vit_base_patch16_224, augment: resize}}
  bridge: {{name: qformer, init: tiny/bert, queries: 32}}
data:
  made: {{name: image_text, annotations: {folder}/list.jsonl, images: {folder}}}
stages:
  representation:
    {{train: [bridge], objectives: {{itc: {{}}, itg: {{}}, itm: {{}}}}, steps: {steps}, batch_size: {rows}}}
run: {{directory: {folder}/runs, log_every: 1, workers: {workers}}}
"""


def make(folder: Path, images: int) -> None:
    """Write photographs-like JPEGs of 640 x 480 pixels and a list of captions."""
    drawn = np.random.default_rng(0)
    lines = []
    for number in range(images):
        small = Image.fromarray(drawn.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        small.resize((640, 480), Image.Resampling.BICUBIC).save(folder / f"{number}.jpg", quality=90)
        lines.append(json.dumps({"image": f"{number}.jpg", "caption": "a red square left of a blue circle"}) + "\n")
    (folder / "list.jsonl").write_text("".join(lines))


def seconds_per_step(metrics: Path) -> float:
    """Give the median over all steps but the first."""
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    return float(np.median([line["seconds"] for line in lines[1:]]))


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, found, quiet = Path(name), discover(), Console(file=io.StringIO())
        make(folder, arguments.images)
        steps = arguments.images // arguments.batch_size
        text = CONFIG.format(folder=folder, steps=steps, rows=arguments.batch_size, workers=arguments.workers)
        (folder / "config.yaml").write_text(text)
        cached = f"features.folder={folder}/features"
        recipe = load_recipe(folder / "config.yaml", [cached], found)
        writer = Writer.of(recipe, found.catalog, 0, 1, lambda *_: None)
        [work] = writer.prepare()
        wrote = writer.write(work)
        times = {}
        for kind, override in (("computed", []), ("cached", [cached])):
            began = time.perf_counter()
            recipe = load_recipe(folder / "config.yaml", [f"run.name={kind}", *override], found)
            directory = run(recipe, found, quiet)
            step = seconds_per_step(directory.metrics)
            times[kind] = {"seconds_per_epoch": step * steps, "whole_run": time.perf_counter() - began}
        epochs = [times[kind]["seconds_per_epoch"] for kind in ("computed", "cached")]
        print(json.dumps({
            "images": arguments.images,
            "batch_size": arguments.batch_size,
            "bytes_on_disk": sum(file.stat().st_size for file in work.folder.iterdir()),
            "seconds_to_write": wrote,
            **times,
            "computed_over_cached": epochs[0] / epochs[1],
        }, indent=1))  # fmt: skip


if __name__ == "__main__":
    main()
