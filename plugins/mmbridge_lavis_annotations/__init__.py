"""Annotation files of LAVIS: captions and questions of any of its data sets."""

from pathlib import Path

from mmbridge_registry import DATASET, AnnotationFile, Catalog, Dataset, Options, hookimpl

from mmbridge_lavis_annotations.sources import PUBLISHED


class LavisAnnotationsOptions(Options):
    """Options of `lavis_annotations`."""

    annotations: AnnotationFile
    """`coco_karpathy_train.json`, `vg_caption.json`, `cc3m.json`, `vqa_train.json`, `nocaps_val.json` and so on: a
    list of objects, an object of objects by id, JSONL, CSV or TSV; recognised by its content."""
    images: Path
    """Folder that the file's image paths start from."""
    cut: str = ""
    """Beginning of the file's image paths that is cut off, so that the rest starts from `images`: files of Visual
    Genome and the web sets hold absolute paths of somebody else's disk, `/export/home/datasets/vg/`."""
    allow_absolute: bool = False
    """Take image paths that are absolute or lead out of the folder; only for files that you trust."""


def build_lavis_annotations(options: LavisAnnotationsOptions) -> Dataset:
    """Open annotations of LAVIS, one record per row; `facts` hold what else a row says, and its `instance_id`."""
    from mmbridge_lavis_annotations.rows import open_annotations

    return open_annotations(options)


@hookimpl
def offer_parts(catalog: Catalog) -> None:
    catalog.offer(DATASET, "lavis_annotations", LavisAnnotationsOptions, build_lavis_annotations)
    for file in PUBLISHED:
        catalog.publish(file)
