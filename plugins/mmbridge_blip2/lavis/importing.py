"""From a LAVIS file to parts: a config's `model:` section and what belongs into it."""

from pathlib import Path

from mmbridge_registry import Imported

from mmbridge_blip2.lavis import tower as lavis_tower
from mmbridge_blip2.lavis.contents import contents_of
from mmbridge_blip2.lavis.file import LavisFile
from mmbridge_blip2.lavis.model import encoder_heads_of, model_section
from mmbridge_blip2.lavis.notes import notes_of


def import_file(file: LavisFile, source: Path) -> Imported:
    """Sort the tensors of a LAVIS file into parts and account for every one.

    Raises:
        UserError: it lacks what cannot be made up, or its parts do not belong together.
    """
    contents, towers = contents_of(file, source), {}
    if sizes := contents.encoder_sizes:
        heads = encoder_heads_of(contents, sizes) or 1  # the notes say so
        towers["vision_encoder"] = lavis_tower.published(sizes, contents.encoder, heads)
    return Imported(
        title=contents.title,
        model=model_section(contents),
        bridge=contents.bridge,
        projection=contents.projection,
        towers=towers,
        renamed=contents.renamed,
        unused=contents.unused,
        notes=tuple(notes_of(contents)),
    )
