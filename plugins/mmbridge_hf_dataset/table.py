"""A table of `datasets` as records."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import datasets
from mmbridge_registry import Dataset, Record, UserError
from mmbridge_registry.annotated import ImageRoot, numbered_id

from mmbridge_hf_dataset import HfDatasetOptions
from mmbridge_hf_dataset.files import fingerprint, open_source

CAPTIONS = ("caption", "text", "captions")
ANSWERS = ("answers", "answer")


class Columns(NamedTuple):
    """Where the parts of a record stand; None has none."""

    image: str
    caption: str | None
    question: str | None
    answer: str | None
    image_id: str | None
    facts: tuple[str, ...]


class HfTable(Dataset):
    """Records of a memory-mapped table; pickled it is the paths of its files."""

    def __init__(self, table: datasets.Dataset, columns: Columns, root: ImageRoot | None, files: list[Path]) -> None:
        self.table, self.columns, self.root, self.files = table, columns, root, files

    def __len__(self) -> int:
        return len(self.table)

    @property
    def contents(self) -> Mapping[str, str]:
        """Size and end of each file, in order; not its time, which a copy to another disk changes."""
        return {f"{place:05d} {file.name}": fingerprint(file) for place, file in enumerate(self.files)}

    def read(self, index: int) -> Record:
        row, columns = self.table[index], self.columns
        question = row[columns.question] if columns.question else None
        return Record(
            image=self._image(row[columns.image]),
            texts=tuple(_texts(row[columns.caption])) if columns.caption else (),
            question=question or None,
            answers=tuple(_texts(row[columns.answer])) if columns.answer and question else (),
            image_id=numbered_id(row[columns.image_id]) if columns.image_id else None,
            name=f"row {index}",
            facts={name: row[name] for name in columns.facts},
        )

    def _image(self, cell: Any) -> bytes | Path:
        if isinstance(cell, dict):
            cell = cell.get("bytes") or cell.get("path")
        if isinstance(cell, bytes):
            return cell
        if not isinstance(cell, str) or not cell:
            raise ValueError("there is no image in this row")
        if self.root is None:
            raise ValueError(f"it holds the path '{cell}' and no image; set `images` to the folder of the images")
        return self.root.find(cell)


def open_dataset(options: HfDatasetOptions) -> HfTable:
    """Open the table that the options name; only the columns that are read are kept.

    Raises:
        UserError: it is nowhere or empty, has other columns, or its images are paths and `images` is not set.
    """
    table, files = open_source(options.source, options.subset, options.split)
    if len(table) == 0:
        raise UserError("there are no records in it.", where=options.source)
    columns = _columns(options, table.column_names)
    named = [columns.image, columns.caption, columns.question, columns.answer, columns.image_id, *columns.facts]
    table = table.with_format(None).select_columns(list(dict.fromkeys(name for name in named if name)))
    if isinstance(table.features[columns.image], datasets.Image):
        # Bytes as they are: decoding is the framework's, which limits sizes and counts what is broken.
        table = table.cast_column(columns.image, datasets.Image(decode=False))
    opened = HfTable(table, columns, ImageRoot(options.images) if options.images else None, files)
    try:
        opened.read(0)
    except ValueError as error:
        raise UserError(f"the first record cannot be read: {error}.", where=options.source) from error
    return opened


def _columns(options: HfDatasetOptions, found: list[str]) -> Columns:
    def column(option: str, named: str | None, otherwise: Iterable[str]) -> str | None:
        if named is not None and named not in found:
            what = f"there is no column '{named}' ({', '.join(found)})."
            raise UserError(what, where=options.source, do=f"Correct `{option}`.")
        return named or next((name for name in otherwise if name in found), None)

    columns = Columns(
        image=column("image_column", options.image_column, ()) or "",
        caption=column("caption_column", options.caption_column, CAPTIONS),
        question=column("question_column", options.question_column, ("question",)),
        answer=column("answer_column", options.answer_column, ANSWERS),
        image_id=column("image_id_column", options.image_id_column, ("image_id",)),
        facts=tuple(name for name in options.facts if column("facts", name, ())),
    )
    if columns.caption is None and columns.question is None:
        what = f"there is neither a caption nor a question ({', '.join(found)})."
        raise UserError(what, where=options.source, do="Set `caption_column` or `question_column`.")
    return columns


def _texts(cell: Any) -> list[str]:
    """Give the texts of a cell: one, a list, or VQAv2's list of {answer, answer_confidence}."""
    cells = cell if isinstance(cell, list) else [cell]
    texts = [one.get("answer") if isinstance(one, dict) else one for one in cells]
    return [str(text) for text in texts if text not in (None, "")]
