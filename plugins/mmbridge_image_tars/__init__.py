"""Images with captions in tar shards, as img2dataset writes them; read in place, nothing is ever extracted."""

from typing import Annotated, Literal

from mmbridge_registry import DATASET, Catalog, Dataset, Options, hookimpl
from pydantic import Field


class ImageTarsOptions(Options):
    """Options of `image_tars`."""

    tars: str | tuple[str, ...]
    """A folder of `.tar` files, a glob (`laion/**/*.tar`), one tar, or a list of these. In a tar, members whose names
    are equal up to the first dot are one sample: an image (.jpg, .jpeg, .png, .webp), a .json, a .txt."""
    captions: Literal["json", "txt"] | None = None
    """Member that the captions are in; None takes the json's where it has some, and else the txt."""
    caption_field: str | None = None
    """Field of the json that holds a caption or a list of them; None takes `captions` (with `scores`, as CapFilt writes
    them), `caption` or `text`. `all_captions` (with `all_scores`) are all that CapFilt ranked. A json may also be the
    caption or the list itself."""
    best: Annotated[int, Field(ge=1)] | None = None
    """Keep so many captions of a list: those with the highest scores, or the first ones where there are no scores."""
    fields: tuple[str, ...] = ("url", "width", "height", "scores")
    """Fields of the json that are kept with a record as facts."""
    processes: Annotated[int, Field(ge=1)] | None = None
    """Processes that index tars which were never read before; None takes one per CPU core, 16 at most."""


def build_image_tars(options: ImageTarsOptions) -> Dataset:
    """Open tar shards; those without an index get one, from their headers alone."""
    from mmbridge_image_tars.shards import open_shards

    return open_shards(options)


@hookimpl
def offer_parts(catalog: Catalog) -> None:
    catalog.offer(DATASET, "image_tars", ImageTarsOptions, build_image_tars)
