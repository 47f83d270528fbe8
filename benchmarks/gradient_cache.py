"""Peak memory and time of one stage-1 step: the whole batch at once against gradient caching, same loss.

    python benchmarks/gradient_cache.py --batch-size 256 --micro-batch-size 16

BERT-base with 32 queries and random weights; features of a frozen ViT-g are given. Each side is a process of its own.
On the CPU its memory is what it has in RAM and in swap: 256 rows at once in float32 want more than 24 GiB.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread

import torch
from mmbridge_objectives import (
    ContrastOptions,
    GenerationOptions,
    MatchOptions,
    build_itc,
    build_itg,
    build_itm,
)
from mmbridge_qformer import QFormerOptions, build_qformer
from mmbridge_registry import Batch, Bridge, Objective, Tokens, VisionEncoder
from torch import Tensor, nn

from mmbridge.collectives import Collectives
from mmbridge.engine import Engine
from mmbridge.micro_batches import backward
from mmbridge.model import BridgedModel, StageModel

PATCHES, WIDTH = 257, 1408
"""What EVA ViT-g/14 makes of an image."""


class Given(VisionEncoder):
    """No encoder: the features are in the batch."""

    width, image_size, num_tokens = WIDTH, 224, PATCHES

    def transform(self, train: bool):
        """Not called."""
        raise NotImplementedError

    def forward(self, pixels: Tensor) -> Tensor:
        """Not called."""
        raise NotImplementedError


def made_up_batch(rows: int, tokens: int) -> Batch:
    """Make features in bfloat16, as they are written down, and captions of half to all of `tokens` tokens."""
    lengths = torch.randint(tokens // 2, tokens + 1, (rows, 1))
    captions = Tokens(torch.randint(1000, 30_000, (rows, tokens)), torch.arange(tokens) < lengths)
    features = torch.randn(rows, PATCHES, WIDTH, dtype=torch.bfloat16)
    numbers = torch.arange(rows)
    return Batch(None, numbers, numbers, {"captions": captions}, features)


def stage_1() -> StageModel:
    """Give the Q-Former at real size with the three objectives; what they do not reach is frozen."""
    bridge: Bridge = build_qformer(QFormerOptions(max_text_length=32, dropout=0.0), encoder_width=WIDTH)
    objectives: dict[str, Objective] = {
        "itc": build_itc(ContrastOptions(label_smoothing=0.1)),
        "itg": build_itg(GenerationOptions(label_smoothing=0.1)),
        "itm": build_itm(MatchOptions()),
    }
    bridge.requires_grad_(False)
    passes = frozenset().union(*(objective.passes for objective in objectives.values()))
    for _, parameter in bridge.parameters_for(passes):
        parameter.requires_grad_(True)
    return StageModel(BridgedModel(Given(), bridge), objectives, Collectives(), seed=0)


def measure(arguments: argparse.Namespace) -> dict[str, object]:
    """Take steps of one side; the first one warms up if there are several."""
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    here = Engine(device, Collectives(), torch.bfloat16 if arguments.precision == "bfloat16" else None)
    stage = stage_1().to(device)
    stage.eval()  # without dropout both sides compute the same loss
    batch = made_up_batch(arguments.batch_size, arguments.tokens).to(device)
    memory = PeakMemory(device)
    before = memory.peak()
    seconds, value = [], 0.0
    worked = time.process_time()
    for _ in range(arguments.steps):
        stage.zero_grad(set_to_none=True)
        began = time.perf_counter()
        loss = backward(here, stage, batch, 0, arguments.micro_batch_size)
        value = float(loss.loss)  # waits for the device
        seconds.append(time.perf_counter() - began)
    norm = nn.utils.get_total_norm([p.grad for p in stage.parameters() if p.grad is not None])
    return {
        "micro_batch_size": arguments.micro_batch_size,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "loss": value,
        "gradient_norm": float(norm),
        "seconds": min(seconds),
        "cpu_seconds_a_step": (time.process_time() - worked) / arguments.steps,
        "gib_before": before,
        "gib_peak": memory.peak(),
    }


class PeakMemory:
    """The most memory so far: what the GPU's allocator gave out, or what this process had in RAM and swap together."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.most = device, 0
        if device.type != "cuda":
            Thread(target=self._watch, daemon=True).start()

    def peak(self) -> float:
        """Give it in GiB."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 2**30
        return max(self.most, self._held()) / 2**30

    def _watch(self) -> None:
        while True:
            self.most = max(self.most, self._held())
            time.sleep(0.01)

    def _held(self) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("VmRSS", "VmSwap")))


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description="Gradient caching against the whole batch.")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--micro-batch-size", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=16, help="tokens of the longest caption")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--side", action="store_true", help="measure --micro-batch-size in this process")
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(measure(arguments)))
        return
    sides = {}
    for name, size in (("whole", arguments.batch_size), ("gradient_cache", arguments.micro_batch_size)):
        # Of two numbers for one option the last counts.
        command = [sys.executable, __file__, *sys.argv[1:], "--side", "--micro-batch-size", str(size)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        died = {"failed": f"exit code {done.returncode}", "said": done.stderr[-300:]}
        sides[name] = json.loads(done.stdout) if done.returncode == 0 else died
    settings = {key: value for key, value in vars(arguments).items() if key != "side"}
    print(json.dumps({**settings, "torch": torch.__version__, **sides}, indent=1))


if __name__ == "__main__":
    main()
