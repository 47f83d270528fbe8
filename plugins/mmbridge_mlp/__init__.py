"""A plain bridge: features averaged to a few queries, then two layers. What BLIP-2 is measured against."""

from typing import TYPE_CHECKING

from mmbridge_registry import BRIDGE, Catalog, Options, hookimpl
from pydantic import PositiveInt

if TYPE_CHECKING:
    from mmbridge_mlp.mlp import MlpBridge


class MlpOptions(Options):
    """Sizes of the MLP bridge."""

    queries: PositiveInt = 32
    """Number of queries that the features are averaged to, in the order of the tokens."""
    width: PositiveInt = 768
    """Width of the queries."""
    inner: PositiveInt | None = None
    """Width between the two layers; None takes four times `width`."""


def build_mlp(options: MlpOptions, encoder_width: int) -> "MlpBridge":
    """Build the MLP bridge for features of `encoder_width`."""
    from mmbridge_mlp.mlp import MlpBridge

    return MlpBridge(encoder_width, options.queries, options.width, options.inner or 4 * options.width)


@hookimpl
def offer_parts(catalog: Catalog) -> None:
    """Offer the bridge `mlp`."""
    catalog.offer(BRIDGE, "mlp", MlpOptions, build_mlp)
