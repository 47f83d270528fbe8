"""Time both stages of a config at its real geometry, with random weights and made-up batches.

    python benchmarks/training_step.py blip2_flant5xl --steps 30 --batch-size 64
    python benchmarks/training_step.py blip2_tiny --steps 5 --batch-size 16 --random no

Per stage: samples per second, peak memory, and the share of each part in a step. The shares are measured by
waiting for the device around every part, in steps of their own, so they do not disturb the throughput.
"""

import argparse
import json
import resource
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from mmbridge_registry import Batch, Draft, Objective, Sample, TextBridge
from mmbridge_registry.discovery import Discovered, discover

from mmbridge.assemble import assemble, prepare_stage
from mmbridge.collectives import Collectives
from mmbridge.config import load_recipe
from mmbridge.engine import Engine
from mmbridge.model import BridgedModel, StageModel
from mmbridge.optim import adamw
from mmbridge.recipe import Recipe, Stage

CAPTION = "a red bus parks near two small dogs under the old bridge while rain falls on quiet streets"
RANDOM = (
    "model.vision_encoder.weights=random",
    "model.bridge.init=null",
    "model.language_model.weights=random",
)


def made_up_batch(model: BridgedModel, objectives: dict[str, Objective], rows: int) -> Batch:
    """Make a batch of noise and of captions of 8 to 17 words."""
    side, words = model.vision_encoder.image_size, CAPTION.split()
    samples = [
        Sample(torch.randn(3, side, side), " ".join(words[: 8 + i % 10]), None, None, i, i, i) for i in range(rows)
    ]
    bridge = model.bridge.tokenizer if isinstance(model.bridge, TextBridge) else None
    language = model.language_model.tokenizer if model.language_model is not None else None
    draft = Draft(samples, bridge, language)
    prepared = {name: item for part in objectives.values() for name, item in part.prepare(draft).items()}
    numbers = torch.arange(rows)
    return Batch(torch.stack([sample.pixels for sample in samples]), numbers, numbers, prepared)


def synchronize(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def timed_parts(model: BridgedModel) -> Iterator[dict[str, float]]:
    """Add up the seconds spent in forwards of encoder and language model."""
    seconds: dict[str, float] = defaultdict(float)
    handles = []
    for name in ("vision_encoder", "language_model"):
        part = getattr(model, name)
        if part is None:
            continue
        method = part.loss if name == "language_model" else part.forward

        def timed(*args: object, name: str = name, method: object = method, **kwargs: object) -> object:
            synchronize(model.device)
            began = time.perf_counter()
            result = method(*args, **kwargs)  # type: ignore[operator]
            synchronize(model.device)
            seconds[name] += time.perf_counter() - began
            return result

        attribute = "loss" if name == "language_model" else "forward"
        setattr(part, attribute, timed)
        handles.append((part, attribute))
    try:
        yield seconds
    finally:
        for part, attribute in handles:
            delattr(part, attribute)


def peak_memory(device: torch.device) -> float:
    """Give the peak in GiB: of the GPU's allocator, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure(model: BridgedModel, stage: Stage, here: Engine, found: Discovered, rows: int, steps: int) -> dict:
    """Train a stage for `steps` steps after 3 of warm-up, and once more with a watch on every part."""
    objectives = prepare_stage(model, stage, found.catalog)
    stage_model = StageModel(model, objectives, here.collectives, 0).to(here.device)
    trained = {name: tensor for name, tensor in model.named_parameters() if tensor.requires_grad}
    optimizer = adamw(trained, stage.optimizer)
    batch = made_up_batch(model, objectives, rows).to(here.device)

    def forward() -> torch.Tensor:
        with here.precision():
            step = stage_model.step(batch, 1)
            return stage_model(step, stage_model.weights(step)).loss

    def update(loss: torch.Tensor) -> None:
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    for _ in range(3):
        update(forward())
    synchronize(here.device)
    if here.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(here.device)
    began = time.perf_counter()
    for _ in range(steps):
        update(forward())
    synchronize(here.device)
    seconds = (time.perf_counter() - began) / steps

    with timed_parts(model) as parts:
        began = time.perf_counter()
        loss = forward()
        synchronize(here.device)
        forwards = time.perf_counter() - began
        update(loss)
        synchronize(here.device)
        whole = time.perf_counter() - began
    shares = {f"{name} forward": value / whole for name, value in parts.items()}
    shares["bridge and objectives forward"] = (forwards - sum(parts.values())) / whole
    shares["backward and optimizer"] = (whole - forwards) / whole
    return {
        "trainable_parameters": sum(tensor.numel() for tensor in trained.values()),
        "batch_size": rows,
        "steps": steps,
        "seconds_per_step": seconds,
        "samples_per_second": rows / seconds,
        "peak_memory_gib": peak_memory(here.device),
        "shares": shares,
    }


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--random", choices=("yes", "no"), default="yes", help="replace all weights by random ones")
    arguments = parser.parse_args()
    found = discover()
    overrides = [*(RANDOM if arguments.random == "yes" else ()), *arguments.overrides]
    recipe: Recipe = load_recipe(Path(arguments.config), overrides, found)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    here = Engine(device, Collectives(), torch.bfloat16 if device.type == "cuda" else None)
    with device:  # random tensors are drawn where they will live
        model = assemble(recipe, found.catalog).to(device)
    result = {
        "config": arguments.config,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "torch": torch.__version__,
        "stages": {
            name: measure(model, stage, here, found, arguments.batch_size, arguments.steps)
            for name, stage in recipe.stages.items()
        },
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
