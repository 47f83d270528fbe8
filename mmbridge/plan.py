"""Plan: what a run would train and hold, from its recipe alone; parts are built on torch's meta device."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from mmbridge_registry import Catalog
from torch import nn

from mmbridge.outline import outline, outlined
from mmbridge.recipe import Recipe, Stage
from mmbridge.trainable import trainable_parameters

TRAINING_BYTES = 12
"""Per trained parameter beside itself: gradient and AdamW's two moments, each float32."""


@dataclass(frozen=True)
class PartPlan:
    """A part of the model: who builds it, its parameters, what they take as they are stored."""

    name: str
    plugin: str
    parameters: int
    bytes: int


@dataclass(frozen=True)
class StagePlan:
    """What a stage trains and sees; `bytes` are parameters, gradients and moments on a rank, without activations."""

    trainable_parameters: int
    frozen_parameters: int
    trainable: dict[str, int]
    """Trainable parameters by part."""
    bytes: int
    steps: int
    batch_size: int
    samples: int


@dataclass(frozen=True)
class Plan:
    """The whole run."""

    parts: dict[str, PartPlan]
    stages: dict[str, StagePlan]

    def as_dict(self) -> dict[str, object]:
        """Give plain values, for JSON."""
        return asdict(self)


def plan(recipe: Recipe, catalog: Catalog, parts: Mapping[str, nn.Module] | None = None) -> Plan:
    """Count parameters, bytes and samples. Weights need not be here: their architecture is enough.

    `parts` are the recipe's outline, if it has been made already.

    Raises:
        UserError: a part that cannot be built in this geometry.
    """
    parts = outline(recipe, catalog) if parts is None else parts
    trained = {name: trained_in(stage, parts, catalog) for name, stage in recipe.stages.items()}
    chosen = recipe.model.parts()
    return Plan(
        {
            name: PartPlan(
                chosen[name].offer.name if name in chosen else "linear",
                str(chosen[name].offer.plugin) if name in chosen else "mmbridge",
                _count(module.parameters()),
                _bytes(module.parameters()),
            )
            for name, module in parts.items()
        },
        {name: _stage(stage, parts, trained[name]) for name, stage in recipe.stages.items()},
    )


def trained_in(stage: Stage, parts: Mapping[str, nn.Module], catalog: Catalog) -> dict[str, nn.Parameter]:
    """Name the parameters of an outline that a stage trains."""
    passes = frozenset().union(*(outlined(objective, catalog).passes for objective in stage.objectives.values()))
    return trainable_parameters(parts, stage.train, passes)


def _stage(stage: Stage, parts: Mapping[str, nn.Module], trained: Mapping[str, nn.Parameter]) -> StagePlan:
    everything = [parameter for module in parts.values() for parameter in module.parameters()]
    count = _count(trained.values())
    by_part = {name: _count(p for key, p in trained.items() if key.startswith(f"{name}.")) for name in parts}
    return StagePlan(
        trainable_parameters=count,
        frozen_parameters=_count(everything) - count,
        trainable={name: number for name, number in by_part.items() if number},
        bytes=_bytes(everything) + TRAINING_BYTES * count,
        steps=stage.steps,
        batch_size=stage.batch_size,
        samples=stage.steps * stage.batch_size,
    )


def _count(parameters: Iterable[nn.Parameter]) -> int:
    return sum(parameter.numel() for parameter in parameters)


def _bytes(parameters: Iterable[nn.Parameter]) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in parameters)
