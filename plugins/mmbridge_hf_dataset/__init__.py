"""Image-text sets in the form of the library `datasets`, from a folder or from the hub's cache."""

from pathlib import Path

from mmbridge_registry import DATASET, Catalog, Dataset, Options, hookimpl


class HfDatasetOptions(Options):
    """Options of `hf_dataset`."""

    source: str
    """A folder (of `save_to_disk`, or with .parquet or .arrow files), or a hub id with its revision
    (`owner/name@0123abc...`) that was fetched before: nothing is downloaded and no code of it is run."""
    split: str | None = None
    """Which split, if there are several: `train`, `test` and so on."""
    subset: str | None = None
    """Folder inside the source, where a hub set has several configurations."""
    image_column: str = "image"
    """Column of the images: encoded ones, or paths."""
    caption_column: str | None = None
    """Column of a caption or a list of captions; None takes `caption`, `text` or `captions` if there is one."""
    question_column: str | None = None
    """Column of the question; None takes `question` if there is one."""
    answer_column: str | None = None
    """Column of an answer or a list of answers; None takes `answers` or `answer` if there is one."""
    image_id_column: str | None = None
    """Column that tells images apart; None takes `image_id` if there is one."""
    facts: tuple[str, ...] = ()
    """Further columns that evaluations read."""
    images: Path | None = None
    """Folder that image paths start from, for sets that hold paths and no images."""


def build_hf_dataset(options: HfDatasetOptions) -> Dataset:
    """Open a table of `datasets`, memory-mapped."""
    from mmbridge_hf_dataset.table import open_dataset

    return open_dataset(options)


@hookimpl
def offer_parts(catalog: Catalog) -> None:
    catalog.offer(DATASET, "hf_dataset", HfDatasetOptions, build_hf_dataset)
