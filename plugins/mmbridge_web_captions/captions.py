"""Captions of the web as a dataset: those whose images are here."""

from collections.abc import Iterator
from pathlib import Path

from mmbridge_registry import UserError
from mmbridge_registry.annotated import AnnotatedImages, Annotation, ImageRoot, open_table

from mmbridge_web_captions import WebCaptionsOptions
from mmbridge_web_captions.downloads import read_downloads, signature
from mmbridge_web_captions.published import read_urls

VERSION = 1
"""Of what the reader yields; a higher one makes cached tables anew."""


def open_captions(options: WebCaptionsOptions) -> AnnotatedImages:
    """Open the captions whose images have been downloaded, in the file's order.

    Raises:
        UserError: a file or folder is missing or another, or none of the images is of the file's URLs.
    """
    if not options.images.is_dir():
        raise UserError("there is no such image folder.", where=options.images, do="Correct `images`.")

    def read(source: Path) -> Iterator[Annotation]:
        return _downloaded(source, options)

    also = {"downloaded": options.downloaded} if options.downloaded else {}
    state = "listed" if options.downloaded else f"{options.images.absolute()} {signature(options.images)}"
    table = open_table(options.annotations, f"web_captions {VERSION} {state}", read, also=also)
    return AnnotatedImages(table, ImageRoot(options.images))


def _downloaded(source: Path, options: WebCaptionsOptions) -> Iterator[Annotation]:
    downloads = read_downloads(options.images, options.downloaded)
    seen = found = 0
    for url, caption in read_urls(source):
        seen += 1
        path = downloads.find(url)
        if path is not None:
            found += 1
            yield Annotation(path, (caption,))
    if not found:
        what = f"none of its {seen} URLs is among the {len(downloads.digests)} downloaded ones."
        raise UserError(what, where=source, do="Give the file that these images were downloaded from.")
