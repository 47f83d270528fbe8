"""Visual Genome's regions as a dataset."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmbridge_registry.annotated import AnnotatedImages, Annotation, ImageRoot, open_table
from mmbridge_registry.json_stream import json_pieces
from mmbridge_registry.published_files import reading

from mmbridge_visual_genome import VisualGenomeOptions

VERSION = 1
"""Of what the reader yields; a higher one makes cached tables anew."""
FOLDERS = ("VG_100K", "VG_100K_2", "")
"""Images were published in two parts, and the annotations do not say which holds one."""
LAYOUT = "[{id, regions: [{region_id, image_id, phrase, x, y, width, height}]}], region_descriptions.json"


def open_regions(options: VisualGenomeOptions) -> AnnotatedImages:
    """Open the regions that the options name.

    Raises:
        UserError: a file or folder is missing, or the file is another.
    """

    def read(source: Path) -> Iterator[Annotation]:
        images = read_images(source)
        return images if options.per == "image" else _per_region(images)

    table = open_table(options.annotations, f"visual_genome {VERSION} per={options.per}", read)
    return AnnotatedImages(table, ImageRoot(options.images, among=FOLDERS))


def read_images(source: Path) -> Iterator[Annotation]:
    """Read one annotation per image that has regions; `region_ids` and `boxes` stand beside the phrases.

    Raises:
        UserError: the file is another.
    """
    with reading(source, "Visual Genome's regions", LAYOUT):
        for piece in json_pieces(source):
            regions = [region for region in piece.value["regions"] if region["phrase"].strip()]
            number = piece.value["id"] if "id" in piece.value else piece.value["image_id"]
            if regions:
                facts = {"region_ids": [region["region_id"] for region in regions], "boxes": [*map(_box, regions)]}
                phrases = [region["phrase"].strip() for region in regions]
                yield Annotation(f"{number}.jpg", phrases, image_id=number, facts=facts)


def _box(region: dict[str, Any]) -> list[int]:
    return [region["x"], region["y"], region["width"], region["height"]]


def _per_region(images: Iterator[Annotation]) -> Iterator[Annotation]:
    for image in images:
        for phrase, number, box in zip(image.texts, image.facts["region_ids"], image.facts["boxes"], strict=True):
            facts = {"region_ids": [number], "boxes": [box]}
            yield Annotation(image.image, (phrase,), image_id=image.image_id, facts=facts)
