"""What vision encoders and language models have in common: they are frozen unless a stage trains them."""

from typing import Self

from torch import nn

from mmbridge_registry.published import Published


class Tower(nn.Module):
    """A pre-trained network at either end of a bridge."""

    def train(self, mode: bool = True) -> Self:
        """Switch to training mode only if something in it is trained: a frozen tower stays in eval, dropout off."""
        return super().train(mode and any(parameter.requires_grad for parameter in self.parameters()))

    def published(self) -> Published | None:
        """Give this tower under the names of the library that it comes from; None if there is no such library."""
        return None
