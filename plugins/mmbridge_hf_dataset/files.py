"""From a name to a memory-mapped table: folders, and what lies in the hub's cache. Only Arrow and Parquet are read."""

import re
from glob import escape
from hashlib import sha256
from io import SEEK_END
from pathlib import Path
from typing import Any

import datasets
from mmbridge_registry import UserError
from mmbridge_registry.annotated import cache_folder

HUB_ID = re.compile(r"(?P<repo>[\w-][\w.-]*/[\w-][\w.-]*)(@(?P<revision>[\w./-]+))?")
END = 2**16
"""Bytes at the end of a file; reading large sets whole would keep a run waiting."""


def open_source(source: str, subset: str | None, split: str | None) -> tuple[datasets.Dataset, list[Path]]:
    """Open a folder or a fetched hub id; give the table, and the files that it is read from in their order.

    Raises:
        UserError: it is nowhere, is no table, or `split` is needed or unfit.
    """
    folder = _folder(source)
    if subset is not None:
        folder = folder / subset
        if not folder.is_dir():
            raise UserError(f"there is no folder '{subset}' in it.", where=folder.parent, do="Correct `subset`.")
    try:
        return _open(folder, split)
    except (OSError, ValueError) as error:
        raise UserError(f"this is no table that `datasets` reads ({error}).", where=folder) from error


def fingerprint(file: Path) -> str:
    """Give a file's size and a sum of its end: there stand, in Parquet, the places and bounds of all columns."""
    with file.open("rb") as opened:
        size = opened.seek(0, SEEK_END)
        opened.seek(max(0, size - END))
        return f"{size} bytes, end sha256 {sha256(opened.read()).hexdigest()}"


def _folder(source: str) -> Path:
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    hub = HUB_ID.fullmatch(source)
    if hub is None:
        raise UserError("there is no such folder.", where=source, do="Correct `source`.")
    if hub["revision"] is None:
        what = f"there is no such folder, and as a hub id '{source}' names no revision."
        raise UserError(what, do=f"Say {source}@<commit>: the same data tomorrow.")
    return _fetched(hub["repo"], hub["revision"])


def _fetched(repo: str, revision: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repo, repo_type="dataset", revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError) as error:
        do = f"Run `hf download {repo} --repo-type dataset --revision {revision}` where there is a network."
        raise UserError(f"'{repo}' at {revision} is not in the hub's cache.", do=do) from error


def _open(folder: Path, split: str | None) -> tuple[datasets.Dataset, list[Path]]:
    if (folder / "dataset_dict.json").is_file():
        folder = folder / _chosen(sorted(path.parent.name for path in folder.glob("*/state.json")), split, folder)
    if (folder / "state.json").is_file():
        saved = datasets.Dataset.load_from_disk(folder, keep_in_memory=False)
        return saved, [Path(file["filename"]) for file in saved.cache_files]
    files = sorted(file for file in folder.rglob("*") if file.suffix in (".parquet", ".arrow"))
    if not files:
        what = "there are no .parquet and no .arrow files in it."
        raise UserError(what, where=folder, do="Give a folder of `save_to_disk`; scripts of a set are never run.")
    files = _of_split(files, split, folder)
    if files[0].suffix == ".arrow":
        return datasets.concatenate_datasets([datasets.Dataset.from_file(str(file)) for file in files]), files
    datasets.disable_progress_bars()
    names: list[Any] = [escape(str(file)) for file in files]  # these would be patterns
    table = datasets.Dataset.from_parquet(names, cache_dir=str(cache_folder() / "parquet"), keep_in_memory=False)
    assert isinstance(table, datasets.Dataset)
    return table, files


def _of_split(files: list[Path], split: str | None, folder: Path) -> list[Path]:
    """Choose the files of a split: `data/train-00000-of-00010.parquet`, `train.parquet` or `train/0000.parquet`."""
    splits: dict[str, list[Path]] = {}
    for file in files:
        splits.setdefault(_split_of(file, folder), []).append(file)
    return splits[_chosen(sorted(splits), split, folder)]


def _split_of(file: Path, folder: Path) -> str:
    numbered = re.fullmatch(r"(?P<split>.*?)[-_.]?(\d+(-of-\d+)?)?([-_]?[0-9a-f]{16})?", file.stem)
    name = numbered["split"] if numbered else file.stem
    return name if name not in ("", "part", "shard", "data") or file.parent == folder else file.parent.name


def _chosen(splits: list[str], split: str | None, folder: Path) -> str:
    if split is None and len(splits) == 1:
        return splits[0]
    if split not in splits:
        what = "there are several splits" if split is None else f"there is no split '{split}'"
        raise UserError(f"{what} ({', '.join(splits)}).", where=folder, do="Set `split` to one of them.")
    return split
