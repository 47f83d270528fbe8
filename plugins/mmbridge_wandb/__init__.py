"""Weights & Biases: a run's curves on its server, or kept for `wandb sync`."""

from typing import TYPE_CHECKING, Literal

from mmbridge_registry import TRACKER, Catalog, Options, UserError, hookimpl

if TYPE_CHECKING:
    from mmbridge_wandb.tracker import Wandb


class WandbOptions(Options):
    """Weights & Biases. Who one is, `wandb login` or the variable WANDB_API_KEY says, never a config."""

    project: str = "mmbridge"
    """Project in which the run is shown."""
    entity: str | None = None
    """User or team; None takes that of the login."""
    group: str | None = None
    """Group of runs that belong together."""
    mode: Literal["online", "offline"] = "online"
    """`offline` writes to the run's directory only; `wandb sync` sends it later."""


def build_wandb(options: WandbOptions) -> "Wandb":
    """Build the tracker.

    Raises:
        UserError: wandb is not installed.
    """
    try:
        from mmbridge_wandb.tracker import Wandb
    except ImportError as error:
        raise UserError(f"wandb cannot be imported ({error}).", do="Run `pip install mmbridge[wandb]`.") from error
    return Wandb(options)


@hookimpl
def offer_parts(catalog: Catalog) -> None:
    """Offer the tracker `wandb`."""
    catalog.offer(TRACKER, "wandb", WandbOptions, build_wandb)
