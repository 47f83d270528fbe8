"""TensorBoard: a run's curves as event files inside its directory."""

from typing import TYPE_CHECKING

from mmbridge_registry import TRACKER, Catalog, Options, UserError, hookimpl

if TYPE_CHECKING:
    from mmbridge_tensorboard.tracker import TensorBoard


class TensorBoardOptions(Options):
    """TensorBoard: nothing to set; `tensorboard --logdir runs` shows all runs."""


def build_tensorboard(options: TensorBoardOptions) -> "TensorBoard":
    """Build the tracker.

    Raises:
        UserError: tensorboard is not installed.
    """
    try:
        from mmbridge_tensorboard.tracker import TensorBoard
    except ImportError as error:
        do = "Run `pip install mmbridge[tensorboard]`."
        raise UserError(f"tensorboard cannot be imported ({error}).", do=do) from error
    return TensorBoard()


@hookimpl
def offer_parts(catalog: Catalog) -> None:
    """Offer the tracker `tensorboard`."""
    catalog.offer(TRACKER, "tensorboard", TensorBoardOptions, build_tensorboard)
