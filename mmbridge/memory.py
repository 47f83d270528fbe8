"""Memory: what a stage holds on one GPU at the fullest moment of a step, foretold from shapes alone."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from mmbridge_registry import Catalog
from mmbridge_registry.tower import Tower
from torch import Tensor, nn

from mmbridge.placement import is_sharded, size
from mmbridge.plan import trained_in
from mmbridge.recipe import Recipe, Stage
from mmbridge.rehearsal import Rehearsal

Placed = Literal["replicate", "shard"]
MOMENTS = 8
"""Bytes of AdamW's two moments per trained parameter, which is float32 itself."""
UNSHARDED = 2
"""Times the largest block: FSDP2 gathers a block into one piece and copies it out."""


@dataclass(frozen=True)
class StageMemory:
    """Bytes on each of `ranks` GPUs; without what CUDA takes for itself, about a gigabyte."""

    ranks: int
    placement: Placed
    frozen: int
    """Parameters and buffers that are not trained, as they are stored and placed."""
    trained: int
    """Trained parameters: the float32 masters."""
    gradients: int
    moments: int
    """AdamW's."""
    activations: int | None
    """All else that a step makes: the batch, features, what backward needs, logits. None if it cannot be told."""
    unknown: str | None
    """Why not."""
    instead: Mapping[str, int]
    """`frozen` by what else a recipe could say: replicate, shard, int8."""

    @property
    def total(self) -> int:
        """The sum, as far as it is known."""
        return self.frozen + self.trained + self.gradients + self.moments + (self.activations or 0)

    def total_if(self, choice: str) -> int:
        """The sum if the recipe said one of `instead`."""
        return self.total - self.frozen + self.instead[choice]

    def as_dict(self) -> dict[str, Any]:
        """Give plain values, for JSON."""
        instead = {choice: self.total_if(choice) for choice in self.instead}
        return {**asdict(self), "total": self.total, "instead": instead}


def foretell(recipe: Recipe, parts: dict[str, nn.Module], catalog: Catalog, ranks: int) -> dict[str, StageMemory]:
    """Foretell every stage's memory; `parts` are an outline, of which only shapes are left afterwards."""
    try:
        rehearsal, why = Rehearsal(recipe, parts, catalog, ranks), None
    except Exception as error:  # parts may do anything; what can be counted is told all the same
        rehearsal, why = None, _reason(error)
    stages = {}
    for name, stage in recipe.stages.items():
        peak, unknown = _peak(rehearsal, stage) if rehearsal else (None, why)
        trained = list(trained_in(stage, parts, catalog).values())
        stages[name] = _memory(recipe, parts, trained, ranks, peak, unknown)
    return stages


def _peak(rehearsal: Rehearsal, stage: Stage) -> tuple[int | None, str | None]:
    try:
        return rehearsal.peak(stage), None
    except Exception as error:
        return None, _reason(error)


def _reason(error: Exception) -> str:
    return f"a rehearsal failed with {type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def _memory(
    recipe: Recipe, parts: Mapping[str, nn.Module], trained: list[nn.Parameter], ranks: int, peak: int | None, why: Any
) -> StageMemory:
    quantized = [key for key, bits in recipe.model.quantize if bits is not None]
    towers = recipe.shardable()
    everything = {key: _bytes(_tensors(part)) for key, part in parts.items()}
    own = _bytes(trained)

    def frozen(placed: Placed, quantized: Iterable[str]) -> int:
        sizes = dict(everything)
        for key in quantized:
            sizes[key] -= saved_by_quantizing(parts[key])
        if placed == "shard" and ranks > 1:
            for key in towers:
                sizes[key] += _sharding(parts[key], ranks)
        return sum(sizes.values()) - own

    device = torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else None
    shards = ranks > 1 and is_sharded(recipe.run.placement, size(*(parts[key] for key in towers)), device)
    placement: Placed = "shard" if shards else "replicate"
    instead = {"replicate": frozen("replicate", quantized), "shard": frozen("shard", quantized)}
    instead["int8"] = frozen("replicate", {*quantized, *towers})
    gradients = own  # in the parameters' dtype
    moments = MOMENTS * sum(parameter.numel() for parameter in trained)
    # Alone, a rank makes its gradients during the step: the rehearsal has seen them.
    rest = peak if peak is None or ranks > 1 else max(0, peak - gradients)
    return StageMemory(ranks, placement, instead[placement], own, gradients, moments, rest, why, instead)


def saved_by_quantizing(tower: nn.Module) -> int:
    """Count the bytes that eight bits take off a tower: one is left per weight, and a scale per row."""
    weights = [module.weight for block in _blocks(tower) for module in block.modules() if type(module) is nn.Linear]
    return sum((weight.element_size() - 1) * weight.numel() - len(weight) * weight.element_size() for weight in weights)


def _sharding(tower: nn.Module, ranks: int) -> int:
    """Count the bytes by which a tower changes when it is sharded; less than nothing, as a rule."""
    blocks = [_bytes(block.parameters()) for block in _blocks(tower)]
    return -sum(blocks) * (ranks - 1) // ranks + UNSHARDED * max(blocks, default=0)


def _blocks(tower: nn.Module) -> list[nn.Module]:
    return tower.blocks() if isinstance(tower, Tower) else []


def _tensors(module: nn.Module) -> Iterable[Tensor]:
    return [*module.parameters(), *module.buffers()]


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
