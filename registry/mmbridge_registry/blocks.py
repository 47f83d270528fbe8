"""Blocks: what a deep network is a stack of."""

from torch import nn


def stacked(network: nn.Module) -> list[nn.Module]:
    """Give the blocks of a network's topmost stacks: of lists that hold two modules or more, all of one class."""
    blocks: list[nn.Module] = []
    for child in network.children():
        is_stack = isinstance(child, nn.ModuleList | nn.Sequential) and len(child) > 1
        same = is_stack and len({type(block) for block in child.children()}) == 1
        blocks += child.children() if same else stacked(child)
    return blocks
