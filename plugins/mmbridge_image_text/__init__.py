"""Images with captions, or with questions and answers, listed in a JSONL, JSON, CSV or TSV file."""

from pathlib import Path

from mmbridge_registry import DATASET, AnnotationFile, Catalog, Dataset, Options, hookimpl


class ImageTextOptions(Options):
    """Options of `image_text`."""

    annotations: AnnotationFile
    """The file: one JSON object per line, a JSON list of objects, or CSV or TSV with a header line; UTF-8. What it is
    is seen from its content."""
    images: Path
    """Folder that the image paths start from."""
    image_column: str = "image"
    """Key or column of the image path."""
    caption_column: str | None = None
    """Key or column of the caption (a text or a list of texts); None takes `caption`, `text` or `captions`."""
    question_column: str = "question"
    """Key or column of the question, if there is one."""
    answer_column: str | None = None
    """Key or column of the answer (a text or a list of texts); None takes `answer` or `answers`."""
    image_id_column: str = "image_id"
    """Key or column that tells images apart, if there is one; without it, equal paths are the same image."""
    allow_absolute: bool = False
    """Take image paths that are absolute or lead out of the folder; only for files that you trust."""


def build_image_text(options: ImageTextOptions) -> Dataset:
    """Open a file of images and texts."""
    from mmbridge_image_text.pairs import open_pairs

    return open_pairs(options)


@hookimpl
def offer_parts(catalog: Catalog) -> None:
    catalog.offer(DATASET, "image_text", ImageTextOptions, build_image_text)
