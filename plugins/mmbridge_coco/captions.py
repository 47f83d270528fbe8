"""COCO captions as a dataset."""

from collections.abc import Iterator
from pathlib import Path

from mmbridge_registry.annotated import AnnotatedImages, Annotation, ImageRoot, open_table

from mmbridge_coco import CocoCaptionsOptions, Split
from mmbridge_coco.layouts import read_images

VERSION = 1
"""Of what the readers yield; a higher one makes cached tables anew."""


def open_captions(options: CocoCaptionsOptions) -> AnnotatedImages:
    """Open the captions that the options name.

    Raises:
        UserError: a file or folder is missing, the layout is none of the three, or `split` does not fit it.
    """

    def read(source: Path) -> Iterator[Annotation]:
        images = read_images(source, options.split)
        return images if options.per == "image" else _per_caption(images)

    layout = _layout(options.split, options.per)
    return AnnotatedImages(
        open_table(options.annotations, layout, read), ImageRoot(options.images, options.allow_absolute)
    )


def _layout(split: Split | None, per: str) -> str:
    return f"coco_captions {VERSION} split={split} per={per}"


def _per_caption(images: Iterator[Annotation]) -> Iterator[Annotation]:
    for image in images:
        for caption in image.texts:
            yield Annotation(image.image, (caption,), image_id=image.image_id)
