"""Captioned photographs as datasets: from the files to tables, and from a table's names to images."""

from collections.abc import Callable, Iterator
from pathlib import Path

from mmbridge_registry.annotated import AnnotatedImages, Annotation, ImageRoot, open_table

from mmbridge_coco import CocoCaptionsOptions, Flickr30kOptions, NocapsOptions, Per
from mmbridge_coco.layouts import read_coco, read_flickr30k, read_nocaps

VERSION = 2
"""Of what the readers yield; a higher one makes cached tables anew."""
COCO_FOLDERS = ("", "train2014", "val2014", "test2014", "test2015", "train2017", "val2017")
"""An official file gives names only; the others begin with a folder."""


def open_captions(options: CocoCaptionsOptions) -> AnnotatedImages:
    """Open the captions that the options name.

    Raises:
        UserError: a file or folder is missing, the layout is none of the three, or `split` does not fit it.
    """
    read = _per(options.per, lambda source: read_coco(source, options.split))
    table = open_table(options.annotations, f"coco_captions {VERSION} split={options.split} per={options.per}", read)
    return AnnotatedImages(table, ImageRoot(options.images, options.allow_absolute, COCO_FOLDERS))


def open_flickr30k(options: Flickr30kOptions) -> AnnotatedImages:
    """Open a split of Flickr30k.

    Raises:
        UserError: a file or folder is missing, or the file is another.
    """
    read = _per(options.per, lambda source: read_flickr30k(source, options.split))
    table = open_table(options.annotations, f"flickr30k {VERSION} split={options.split} per={options.per}", read)
    return AnnotatedImages(table, ImageRoot(options.images, among=("flickr30k-images", "")))


def open_nocaps(options: NocapsOptions) -> AnnotatedImages:
    """Open NoCaps.

    Raises:
        UserError: a file or folder is missing, or the file is another.
    """
    table = open_table(options.annotations, f"nocaps {VERSION}", read_nocaps)
    return AnnotatedImages(table, ImageRoot(options.images))


def _per(per: Per, read: Callable[[Path], Iterator[Annotation]]) -> Callable[[Path], Iterator[Annotation]]:
    def per_caption(source: Path) -> Iterator[Annotation]:
        for image in read(source):
            for caption in image.texts:
                yield Annotation(image.image, (caption,), image_id=image.image_id, facts=image.facts)

    return read if per == "image" else per_caption
