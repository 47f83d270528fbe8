"""A kit for dataset plugins whose data is annotations in a file and images in a folder.

A plugin reads its own file format and yields one `Annotation` per record; the rest is here: a memory-mapped Arrow
table that is written once per content of the file, images below a root, and messages for what is wrong.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from mmbridge_registry.annotation_table import Annotation, numbered, open_table
from mmbridge_registry.cache import CACHE, cache_folder
from mmbridge_registry.dataset import Dataset
from mmbridge_registry.errors import UserError
from mmbridge_registry.record import Record

if TYPE_CHECKING:
    from datasets import Dataset as ArrowTable

__all__ = [
    "CACHE", "AnnotatedImages", "Annotation", "ImageRoot", "OutsideError",
    "cache_folder", "numbered", "numbered_id", "open_table",
]  # fmt: skip

FIRST_LOOK = 32
"""Images that are looked for before a run begins."""


class OutsideError(ValueError):
    """A path that leads out of the folder of its data set."""


@dataclass(frozen=True)
class ImageRoot:
    """The folder below which all images of a dataset lie."""

    folder: Path
    allow_absolute: bool = False
    """Also take absolute paths, and paths that leave the folder."""
    among: tuple[str, ...] = ("",)
    """Folders inside it, in one of which an image lies; the first that has it is taken."""

    def find(self, image: str) -> Path:
        """Give the path of an image.

        Raises:
            OutsideError: it is absolute or leads out of the folder, and that is not allowed.
        """
        path = PurePath(image)
        if not self.allow_absolute and (path.is_absolute() or ".." in path.parts):
            raise OutsideError(f"'{image}' leads out of the image folder {self.folder}")
        places = [self.folder / inside / path for inside in self.among]
        return places[0] if len(places) == 1 else next((place for place in places if place.exists()), places[0])

    def look(self, images: Sequence[str]) -> None:
        """Look for a few images before a run begins.

        Raises:
            UserError: there is no such folder, a path leads out of it, or none of the images is there.
        """
        if not self.folder.is_dir():
            raise UserError("there is no such image folder.", where=self.folder, do="Correct `images`.")
        try:
            found = [self.find(image).exists() for image in images]
        except (OSError, ValueError) as error:
            do = "Write relative paths, or set `allow_absolute: true` if you trust the file."
            raise UserError(f"{error}.", do=do) from error
        if not any(found):
            what = f"0 of the first {len(found)} images exist below it (the first is '{images[0]}')."
            raise UserError(what, where=self.folder, do="Set `images` to the folder that these paths start from.")


class AnnotatedImages(Dataset):
    """Records of a memory-mapped table; pickled it is two paths."""

    def __init__(self, table: "ArrowTable", root: ImageRoot) -> None:
        """Join a table (`open_table`) with the folder of its images.

        Raises:
            UserError: see `ImageRoot.look`.
        """
        root.look(table[:FIRST_LOOK]["image"])
        self.table = table
        self.root = root

    def __len__(self) -> int:
        return len(self.table)

    @property
    def contents(self) -> Mapping[str, str]:
        """The key of the table: what was in the files, and how they were read."""
        return {"annotations": self.table._fingerprint}

    def read(self, index: int) -> Record:
        row = self.table[index]
        return Record(
            image=self.root.find(row["image"]),
            texts=tuple(row["texts"]),
            question=row["question"],
            answers=tuple(row["answers"]),
            image_id=row["image_id"],
            name=row["image"],
            facts=json.loads(row["facts"] or "{}"),
        )


def numbered_id(image_id: Any) -> int | None:
    """Keep a number, turn any other name of an image into one; None and nothing name none."""
    if image_id in (None, ""):
        return None
    name = str(image_id)
    return int(name) if name.isdecimal() and len(name) < 19 else numbered(name)
