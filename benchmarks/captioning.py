"""Time captions beside transformers' own `generate`: the same weights, the same images, one process.

    python benchmarks/captioning.py runs/blip2_tiny_opt --images 256
    python benchmarks/captioning.py blip2_opt2.7b --images 128 --dtype bfloat16      # random weights, real geometry

The model is exported as `mmbridge export --to hf` does and read by transformers alone. Rounds alternate, and the
medians are compared; images lie in memory, everything from the picture to the words is timed on both sides.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmbridge_registry import FORMAT, Generation
from mmbridge_registry.discovery import Discovered, discover
from PIL import Image
from transformers import AutoProcessor, Blip2ForConditionalGeneration

from mmbridge.assemble import assemble
from mmbridge.config import load_recipe
from mmbridge.inference import Model
from mmbridge.loading import newest_of, opened, restored
from mmbridge.model import BridgedModel

RANDOM = ["model.vision_encoder.weights=random", "model.bridge.init=null", "model.language_model.weights=random"]


def model_of(source: str, dtype: str, found: Discovered, device: torch.device) -> BridgedModel:
    """Load a run, or build a config with random weights, as if its second stage had learned something."""
    if Path(source).is_dir():
        directory, recipe = opened(source, found)
        return restored(recipe, found, newest_of(directory, recipe.stage_names), str(device))
    stored = [f"model.{part}.dtype={dtype}" for part in ("vision_encoder", "language_model")]
    model = assemble(load_recipe(source, [*RANDOM, *stored], found), found.catalog).to(device).eval()
    model.learned.update(name for name in model.tensors() if name.startswith(("bridge.", "projection.")))
    return model


def pictures(count: int, side: int) -> list[Image.Image]:
    """Noise in large patches, which is as much work as photographs are."""
    torch.manual_seed(0)
    noise = torch.randint(0, 256, (count, 8, 8, 3), dtype=torch.uint8).numpy()
    return [Image.fromarray(one).resize((side, side), Image.Resampling.BICUBIC) for one in noise]


def theirs(folder: Path, dtype: torch.dtype, device: torch.device, generation: Generation, batch: int) -> Callable:
    """Give transformers' way from pictures to words."""
    processor: Any = AutoProcessor.from_pretrained(folder)
    model: Any = Blip2ForConditionalGeneration.from_pretrained(folder, dtype=dtype).to(device).eval()

    def caption(images: list[Image.Image]) -> list[str]:
        words: list[str] = []
        for first in range(0, len(images), batch):
            some = images[first : first + batch]
            given = processor(images=some, text=[""] * len(some), return_tensors="pt").to(device, dtype)
            with torch.no_grad():
                ids = model.generate(
                    **given, max_new_tokens=generation.max_new_tokens, num_beams=generation.beams, do_sample=False
                )
            start = 0 if model.config.text_config.is_encoder_decoder else given["input_ids"].shape[1]
            words += processor.batch_decode(ids[:, start:], skip_special_tokens=True)
        return [text.strip() for text in words]

    return caption


def timed(caption: Callable, images: list[Image.Image], device: torch.device) -> tuple[float, list[str]]:
    """Seconds and words of one round."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    words = caption(images)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start, words


def main() -> None:
    """Print one JSON object: images per second on both sides, their ratio, and how many captions are equal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="a run, or a config that is built with random weights")
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--beams", type=int, default=1)
    parser.add_argument("--max-new-tokens", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dtype", default="float32", help="of the towers, when weights are random")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device, found = torch.device(arguments.device), discover()
    model = model_of(arguments.source, arguments.dtype, found, device)
    generation = Generation(beams=arguments.beams, max_new_tokens=arguments.max_new_tokens)
    ours = Model(model, arguments.batch_size)
    offer = found.catalog.find(FORMAT, "hf")
    with tempfile.TemporaryDirectory() as folder:
        offer.build(offer.options()).write(model, Path(folder) / "hf", "")
        dtype = next(model.language_model.parameters()).dtype
        other = theirs(Path(folder) / "hf", dtype, device, generation, arguments.batch_size)
        images = pictures(arguments.images, model.vision_encoder.image_size)
        sides = {"mmbridge": lambda given: ours.caption(given, generation=generation), "transformers": other}
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        words: dict[str, list[str]] = {}
        for number in range(arguments.rounds + 1):
            for name, caption in sides.items():
                took, words[name] = timed(caption, images, device)
                if number:  # the first round warms up
                    seconds[name].append(took)
    rates = {name: arguments.images / statistics.median(times) for name, times in seconds.items()}
    equal = sum(a == b for a, b in zip(*words.values(), strict=True))
    result = {
        **vars(arguments),
        "images_per_second": {name: round(rate, 2) for name, rate in rates.items()},
        "ratio": round(rates["mmbridge"] / rates["transformers"], 3),
        "equal_captions": f"{equal} of {arguments.images}",
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
