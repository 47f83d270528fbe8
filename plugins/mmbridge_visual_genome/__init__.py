"""Visual Genome: regions of photographs and what is said of them."""

from pathlib import Path
from typing import Literal

from mmbridge_registry import DATASET, AnnotationFile, Catalog, Dataset, Options, hookimpl

from mmbridge_visual_genome.sources import PUBLISHED


class VisualGenomeOptions(Options):
    """Options of `visual_genome`."""

    annotations: AnnotationFile
    """`region_descriptions.json`."""
    images: Path
    """Folder that holds `VG_100K/` and `VG_100K_2/`, or all images itself."""
    per: Literal["image", "region"] = "image"
    """One record per image with the phrases of all its regions (some 50), of which training draws one, or one record
    per region."""


def build_visual_genome(options: VisualGenomeOptions) -> Dataset:
    """Open Visual Genome's regions; `facts` hold their boxes (x, y, width, height in pixels) beside `texts`."""
    from mmbridge_visual_genome.regions import open_regions

    return open_regions(options)


@hookimpl
def offer_parts(catalog: Catalog) -> None:
    catalog.offer(DATASET, "visual_genome", VisualGenomeOptions, build_visual_genome)
    for file in PUBLISHED:
        catalog.publish(file)
