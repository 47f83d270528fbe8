"""Captions of images on the web, published as lists of addresses: CC3M, CC12M, SBU."""

from pathlib import Path

from mmbridge_registry import DATASET, AnnotationFile, Catalog, Dataset, Options, hookimpl

from mmbridge_web_captions.sources import PUBLISHED


class WebCaptionsOptions(Options):
    """Options of `web_captions`. The published files hold addresses, not images: those are what you downloaded."""

    annotations: AnnotationFile
    """`Train_GCC-training.tsv` of CC3M (caption, URL), `cc12m.tsv` (URL, caption) or `sbu-captions-all.json`; which
    column is which is seen from the content."""
    images: Path
    """Folder of the images: what img2dataset wrote with `--output_format files` (`00000/000000000.jpg`), or what the
    paths of `downloaded` start from. For its tar files there is the dataset `image_tars`."""
    downloaded: Path | None = None
    """TSV of URL and path, without a header: which image came from where. None takes it from img2dataset's
    `00000.parquet`, or else from its `.json` beside each image."""


def build_web_captions(options: WebCaptionsOptions) -> Dataset:
    """Open the captions whose images have been downloaded."""
    from mmbridge_web_captions.captions import open_captions

    return open_captions(options)


@hookimpl
def offer_parts(catalog: Catalog) -> None:
    catalog.offer(DATASET, "web_captions", WebCaptionsOptions, build_web_captions)
    for file in PUBLISHED:
        catalog.publish(file)
