"""Rehearsal: a stage's step on tensors that have shapes and no numbers, to see what it holds in memory."""

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from mmbridge_registry import Batch, Catalog, Draft, Objective, Sample, TextBridge, Tokens, UserError
from mmbridge_registry.objective import Prepared
from mmbridge_registry.tokens import TextTokenizer
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from mmbridge.assemble import prepare_stage
from mmbridge.engine import Engine
from mmbridge.live_bytes import LiveBytes
from mmbridge.micro_batches import backward
from mmbridge.model import BridgedModel, StageModel
from mmbridge.pretending import EveryLabel, Kernels, PretendedRanks
from mmbridge.recipe import Recipe, Stage
from mmbridge.recomputing import recompute_blocks

TEXT = "word " * 64
"""As long as a tokenizer lets it be: memory is planned for the worst batch."""
TOKENS = 32
"""What stands in for a text if the bridge's tokenizer is not on this machine: the original's longest."""
PARTS = (2, 3, 4)
"""Micro-batches that are rehearsed; more are foretold, since what all of them leave behind is quadratic at most."""


class Rehearsal:
    """A model of shapes, ready to take steps; nothing is computed and no device is touched."""

    def __init__(self, recipe: Recipe, parts: dict[str, nn.Module], catalog: Catalog, ranks: int) -> None:
        self.recipe, self.catalog, self.ranks = recipe, catalog, ranks
        self.on_gpu = recipe.run.device != "cpu"
        precision = recipe.run.precision
        bfloat16 = precision == "bfloat16" or (precision == "auto" and self.on_gpu)
        collectives = PretendedRanks(ranks)
        self.here = Engine(torch.device("cpu"), collectives, torch.bfloat16 if bfloat16 else None)
        with torch.device("meta"):
            self.model: Any = BridgedModel(parts["vision_encoder"], parts["bridge"], parts.get("language_model"))  # pyright: ignore
        self.shapes = FakeTensorMode()
        with self.shapes:
            _without_numbers(self.model)
        if recipe.run.checkpoint_activations:
            recompute_blocks(self.model)

    def peak(self, stage: Stage) -> int:
        """Bytes at the fullest moment of a step of `stage` on one rank, beside parameters and optimizer state.

        Gradients are among them.
        """
        rows = stage.batch_size // self.ranks
        size = min(stage.micro_batch_size or rows, rows)
        count = rows // size
        if count <= PARTS[-1]:
            return self._step(stage, rows, size)
        return _quadratic({number: self._step(stage, number * size, size) for number in PARTS}, count)

    def _step(self, stage: Stage, rows: int, size: int) -> int:
        objectives = prepare_stage(self.model, stage, self.catalog)
        prepared = self._prepared(objectives, rows)
        given = [*self.model.parameters(), *self.model.buffers()]
        whole = StageModel(self.model, objectives, self.here.collectives, self.recipe.run.seed)
        with self.shapes:
            if self.ranks > 1:  # DDP has room for all gradients from the start
                for parameter in (one for one in self.model.parameters() if one.requires_grad):
                    parameter.grad = torch.empty_like(parameter)
                    given.append(parameter.grad)
            with Kernels(self.on_gpu), LiveBytes(given) as live, EveryLabel():
                backward(self.here, whole, self._batch(prepared, rows), 1, size)
        self.model.zero_grad(set_to_none=True)
        return live.peak

    def _prepared(self, objectives: dict[str, Objective], rows: int) -> dict[str, Prepared]:
        model = self.model
        samples = [Sample(None, TEXT, None, None, row, row, row) for row in range(rows)]
        bridge = _long_texts(model.bridge.tokenizer) if isinstance(model.bridge, TextBridge) else None
        draft = Draft(samples, bridge, model.language_model and model.language_model.tokenizer)
        return {name: item for part in objectives.values() for name, item in part.prepare(draft).items()}

    def _batch(self, prepared: dict[str, Prepared], rows: int) -> Batch:
        encoder, pixels, features = self.model.vision_encoder, None, None
        if self.recipe.features is None:
            pixels = torch.empty(rows, 3, encoder.image_size, encoder.image_size)
        else:
            dtype = next((parameter.dtype for parameter in encoder.parameters()), torch.float32)
            features = torch.empty(rows, encoder.num_tokens, encoder.width, dtype=dtype)
        numbers = torch.zeros(rows, dtype=torch.int64)
        shapes = {name: _shaped(item, memo={}) for name, item in prepared.items()}
        return Batch(pixels, numbers, numbers, shapes, features)


def _long_texts(tokenizer: TextTokenizer) -> TextTokenizer:
    def tokens(texts: Sequence[str]) -> Tokens:
        try:
            return tokenizer(texts)
        except UserError:
            ids = torch.zeros(len(texts), TOKENS, dtype=torch.int64)
            return Tokens(ids, torch.ones_like(ids, dtype=torch.bool))

    return tokens


def _without_numbers(module: nn.Module) -> None:
    """Put tensors of the fake mode that is entered in place of a module's own; tied ones stay tied."""
    memo: dict[int, Tensor] = {}
    for inner in module.modules():
        for named in (inner._parameters, inner._buffers):
            named.update({name: tensor if tensor is None else _shaped(tensor, memo) for name, tensor in named.items()})


def _shaped(item: Any, memo: dict[int, Tensor]) -> Any:
    """Give tensors, and dataclasses of them, as tensors of their shapes on the CPU."""
    if is_dataclass(item):
        inner = {field.name: _shaped(getattr(item, field.name), memo) for field in fields(item)}
        return type(item)(**inner)  # type: ignore[call-overload]
    if isinstance(item, Tensor) and id(item) not in memo:
        shape = torch.empty_strided(item.size(), item.stride(), dtype=item.dtype, device="cpu")
        is_parameter = isinstance(item, nn.Parameter)
        memo[id(item)] = nn.Parameter(shape, item.requires_grad) if is_parameter else shape
    return memo[id(item)] if isinstance(item, Tensor) else item


def _quadratic(known: dict[int, int], number: int) -> int:
    """Foretell from three consecutive numbers of micro-batches: similarities of all rows to all grow quadratically."""
    first, (a, b, c) = min(known), (known[number] for number in sorted(known))
    steps = number - first
    return a + steps * (b - a) + steps * (steps - 1) // 2 * (c - 2 * b + a)
