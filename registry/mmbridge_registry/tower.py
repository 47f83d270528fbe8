"""What vision encoders and language models have in common: they are frozen unless a stage trains them."""

from typing import Self

from torch import nn

from mmbridge_registry.blocks import stacked
from mmbridge_registry.published import Published


class Tower(nn.Module):
    """A pre-trained network at either end of a bridge."""

    def train(self, mode: bool = True) -> Self:
        """Switch to training mode only if something in it is trained: a frozen tower stays in eval, dropout off."""
        return super().train(mode and any(parameter.requires_grad for parameter in self.parameters()))

    def blocks(self) -> list[nn.Module]:
        """Give the blocks that hold most of its weights, each of which is called as a module.

        A run that does not fit shards them one by one, and computes what is in them again in the backward pass.
        """
        return stacked(self)

    def published(self) -> Published | None:
        """Give this tower under the names of the library that it comes from; None if there is no such library."""
        return None
