"""Trackio: a run's curves in a local database, which `trackio show` draws, or in a Hugging Face Space."""

from typing import TYPE_CHECKING

from mmbridge_registry import TRACKER, Catalog, Options, UserError, hookimpl

if TYPE_CHECKING:
    from mmbridge_trackio.tracker import Trackio


class TrackioOptions(Options):
    """Trackio. Who one is, `hf auth login` or the variable HF_TOKEN says, never a config."""

    project: str = "mmbridge"
    """Project in which the run is shown."""
    group: str | None = None
    """Group of runs that belong together."""
    space: str | None = None
    """Hugging Face Space that draws the curves; None keeps them on this machine."""


def build_trackio(options: TrackioOptions) -> "Trackio":
    """Build the tracker.

    Raises:
        UserError: trackio is not installed.
    """
    try:
        from mmbridge_trackio.tracker import Trackio
    except ImportError as error:
        do = "Run `pip install mmbridge[trackio]`."
        raise UserError(f"trackio cannot be imported ({error}).", do=do) from error
    return Trackio(options)


@hookimpl
def offer_parts(catalog: Catalog) -> None:
    """Offer the tracker `trackio`."""
    catalog.offer(TRACKER, "trackio", TrackioOptions, build_trackio)
