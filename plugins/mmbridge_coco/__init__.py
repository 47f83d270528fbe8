"""COCO captions, from any of the files in which they are handed around."""

from pathlib import Path
from typing import Literal

from mmbridge_registry import DATASET, Catalog, Dataset, Options, hookimpl

Split = Literal["train", "val", "test"]


class CocoCaptionsOptions(Options):
    """Options of `coco_captions`."""

    annotations: Path
    """`captions_train2014.json` (official), `dataset_coco.json` (Karpathy) or `coco_karpathy_train.json` (a list, or
    one object per line); recognised by its content. Flickr30k and NoCaps files of these layouts fit too."""
    images: Path
    """Folder that the file's image paths start from: the one that holds `train2014/` and `val2014/`, or for an
    official file, which gives names only, `train2014/` itself."""
    split: Split | None = None
    """Part of a Karpathy file; `train` includes its restval. Other files hold one split and take none."""
    per: Literal["image", "caption"] = "image"
    """One record per image with all its captions, of which training draws one, or one record per caption."""
    allow_absolute: bool = False
    """Take image paths that are absolute or lead out of the folder; only for files that you trust."""


def build_coco_captions(options: CocoCaptionsOptions) -> Dataset:
    """Open COCO captions."""
    from mmbridge_coco.captions import open_captions

    return open_captions(options)


@hookimpl
def offer_parts(catalog: Catalog) -> None:
    catalog.offer(DATASET, "coco_captions", CocoCaptionsOptions, build_coco_captions)
