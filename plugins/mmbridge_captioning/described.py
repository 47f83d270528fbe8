"""Images with all that people wrote of them, whichever way a dataset deals it out into records."""

from dataclasses import dataclass
from pathlib import Path

from mmbridge_registry import Dataset, UserError
from PIL.Image import Image


@dataclass
class Described:
    """An image with all its captions."""

    image: bytes | Path | Image
    texts: list[str]
    name: int | str
    """What files of predictions call it: its `image_id`, or the record's name where the dataset has no ids."""
    domain: str | None
    """NoCaps: `in-domain`, `near-domain` or `out-domain`."""


def describe(dataset: Dataset) -> list[Described]:
    """Read a dataset; records with one image id are one image with the captions of all of them.

    Raises:
        UserError: an image has no captions, or there is only one image.
    """
    described: dict[object, Described] = {}
    for record in dataset:
        if not record.texts:
            raise UserError(f"record '{record.name}' has no caption to compare with.", do="Evaluate on captions.")
        key = ("record", len(described)) if record.image_id is None else ("image", record.image_id)
        name = record.name if record.image_id is None else record.image_id
        one = Described(record.image, [], name, record.facts.get("domain"))
        described.setdefault(key, one).texts.extend(record.texts)
    if len(described) < 2:
        raise UserError("captions are also compared with those of another image, so at least two images are needed.")
    return list(described.values())
