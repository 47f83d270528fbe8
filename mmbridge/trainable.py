"""Which parameters a stage trains."""

from collections.abc import Collection, Mapping

from mmbridge_registry import Bridge
from mmbridge_registry.bridge import Pass
from torch import nn


def trainable_parameters(
    parts: Mapping[str, nn.Module], train: Collection[str], passes: frozenset[Pass]
) -> dict[str, nn.Parameter]:
    """Name the parameters that a stage trains: of a bridge those that the objectives' passes reach, of others all.

    `parts` are the modules of a model by name (`bridge`, `projection`, ...), `train` names those that are trained.
    """
    chosen = {}
    for part in (name for name in parts if name in train):
        module = parts[part]
        reached = module.parameters_for(passes) if isinstance(module, Bridge) else module.named_parameters()
        chosen |= {f"{part}.{name}": parameter for name, parameter in reached}
    return chosen
