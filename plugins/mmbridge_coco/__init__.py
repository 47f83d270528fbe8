"""Captioned photographs in COCO's layouts: COCO itself, Flickr30k and NoCaps."""

from pathlib import Path
from typing import Literal

from mmbridge_registry import DATASET, AnnotationFile, Catalog, Dataset, Options, hookimpl

from mmbridge_coco.sources import PUBLISHED

Split = Literal["train", "val", "test"]
Per = Literal["image", "caption"]


class CocoCaptionsOptions(Options):
    """Options of `coco_captions`."""

    annotations: AnnotationFile
    """`captions_train2014.json` (official), `dataset_coco.json` (Karpathy) or `coco_karpathy_train.json` (a list, or
    one object per line); recognised by its content."""
    images: Path
    """Folder that holds `train2014/` and `val2014/`."""
    split: Split | None = None
    """Part of a Karpathy file; `train` includes its restval. Other files hold one split and take none."""
    per: Per = "image"
    """One record per image with all its captions, of which training draws one, or one record per caption."""
    allow_absolute: bool = False
    """Take image paths that are absolute or lead out of the folder; only for files that you trust."""


class Flickr30kOptions(Options):
    """Options of `flickr30k`."""

    annotations: AnnotationFile
    """`dataset_flickr30k.json`, Karpathy's splits."""
    images: Path
    """The folder `flickr30k-images`, or the one that holds it."""
    split: Split
    """Part of the file: 29,000 images of train, about a thousand each of val and test."""
    per: Per = "image"
    """One record per image with its five captions, of which training draws one, or one record per caption."""


class NocapsOptions(Options):
    """Options of `nocaps`."""

    annotations: AnnotationFile
    """`nocaps_val_4500_captions.json`, or the list of test images, which has no captions."""
    images: Path
    """Folder of the images by name."""


def build_coco_captions(options: CocoCaptionsOptions) -> Dataset:
    """Open COCO captions."""
    from mmbridge_coco.captions import open_captions

    return open_captions(options)


def build_flickr30k(options: Flickr30kOptions) -> Dataset:
    """Open Flickr30k captions."""
    from mmbridge_coco.captions import open_flickr30k

    return open_flickr30k(options)


def build_nocaps(options: NocapsOptions) -> Dataset:
    """Open NoCaps; `facts` hold each image's domain."""
    from mmbridge_coco.captions import open_nocaps

    return open_nocaps(options)


@hookimpl
def offer_parts(catalog: Catalog) -> None:
    catalog.offer(DATASET, "coco_captions", CocoCaptionsOptions, build_coco_captions)
    catalog.offer(DATASET, "flickr30k", Flickr30kOptions, build_flickr30k)
    catalog.offer(DATASET, "nocaps", NocapsOptions, build_nocaps)
    for file in PUBLISHED:
        catalog.publish(file)
