"""Placement: the towers that no stage trains lie whole on every rank, or cut up over the ranks (FSDP2)."""

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from mmbridge.engine import Engine
from mmbridge.model import BridgedModel
from mmbridge.recipe import Placement, Recipe

SHARE = 0.5
"""Of a device's memory: frozen towers that take more are sharded if nobody says otherwise."""


def place(model: BridgedModel, recipe: Recipe, here: Engine) -> BridgedModel:
    """Bring a model to this rank's device, its frozen towers whole or in shards; a single process has it whole."""
    towers = [getattr(model, name) for name in recipe.shardable()]
    if here.collectives.world_size > 1 and here.agree(
        int(is_sharded(recipe.run.placement, size(*towers), memory(here)))
    ):
        mesh = init_device_mesh(here.device.type, (here.collectives.world_size,))
        for block in (block for tower in towers for block in tower.blocks()):
            # Moves block by block: no device ever holds a tower whole. Embeddings, norms and heads stay on every rank,
            # since language models are asked for them outside of any forward.
            fully_shard(block, mesh=mesh, reshard_after_forward=True)
    return model.to(here.device)


def is_sharded(placement: Placement, frozen_bytes: int, device_bytes: int | None) -> bool:
    """Tell whether towers of `frozen_bytes` are sharded; the size of the device decides if the recipe does not."""
    if placement != "auto":
        return placement == "shard"
    return device_bytes is not None and frozen_bytes > SHARE * device_bytes


def size(*modules: nn.Module) -> int:
    """Add up the bytes of modules' parameters, as this rank holds them."""
    return sum(tensor.numel() * tensor.element_size() for module in modules for tensor in module.parameters())


def memory(here: Engine) -> int | None:
    """Bytes of this rank's GPU; None on the CPU, whose memory is everybody's."""
    return torch.cuda.get_device_properties(here.device).total_memory if here.device.type == "cuda" else None


def needs_all_ranks(model: BridgedModel) -> bool:
    """Tell whether a forward of this model is a collective: no rank can make it alone."""
    return any(isinstance(module, FSDPModule) for module in model.modules())
