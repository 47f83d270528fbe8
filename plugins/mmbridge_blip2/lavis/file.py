"""Pickled files, of which plain data is read and nothing is ever run."""

import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from mmbridge_registry import UserError
from torch import Tensor

WEIGHTS, SETTINGS = "model", "mmbridge"
"""Keys of a file: LAVIS' for the weights, and ours for numbers that are in no tensor; LAVIS passes it over."""

REFUSED = re.compile(r"GLOBAL ([\w.]+)")
FLOATS = (torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class LavisFile:
    """What a file holds."""

    tensors: Mapping[str, Tensor]
    settings: Mapping[str, float]
    """Numbers that this framework's own export put beside the weights."""
    rest: tuple[str, ...]
    """Other keys: the state of an optimizer, a config."""


def is_pickle(source: Path) -> bool:
    """Whether a file begins as a pickle of torch does, in its zip or bare; cut ones begin no different."""
    if not source.is_file():
        return False
    with source.open("rb") as file:
        head = file.read(512)
    in_zip = head.startswith(b"PK\x03\x04") and b"/data.pkl" in head  # torch writes it first
    return in_zip or re.match(rb"\x80[\x02-\x05]", head) is not None


def read_file(source: Path) -> LavisFile:
    """Read tensors that lie under `model`, or flat.

    Raises:
        UserError: it is cut short, asks for code, has no tensors, or ones that are no plain numbers.
    """
    content = _unpickled(source)
    state = content.get(WEIGHTS, content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not any(isinstance(value, Tensor) for value in state.values()):
        raise UserError("there are no tensors in it.", where=source, do="Give a checkpoint of LAVIS' BLIP-2.")
    strange = [name for name, value in state.items() if not isinstance(name, str) or not _plain(name, value)]
    if strange:
        raise UserError(f"{strange[0]!r} is no tensor of numbers.", where=source, do="Give the original file.")
    rest = tuple(str(key) for key in content if key not in {WEIGHTS, SETTINGS}) if state is not content else ()
    return LavisFile(state, _numbers(content.get(SETTINGS)), rest)


def _unpickled(source: Path) -> Any:
    _refuse_packed(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on old pickles and foreign archives, which are refused or read below
            return torch.load(source, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(source))
    except Exception as error:  # a broken pickle raises whatever its broken place leads to
        asked = REFUSED.search(str(error))
        if asked or isinstance(error, UnpicklingError):
            raise UserError(
                f"its pickle asks for {asked[1] if asked else 'more'}, which is no plain data; nothing was run.",
                where=source,
                do="Trust only files whose origin you know; save their tensors alone where they come from.",
            ) from error
        raise UserError(
            f"it is cut short or no pickle of tensors ({str(error).partition('.')[0] or type(error).__name__}).",
            where=source,
            do="Get the file again.",
        ) from error


def _refuse_packed(source: Path) -> None:
    """Refuse an archive that grows when it is read; torch's own are never compressed."""
    if not zipfile.is_zipfile(source):
        return
    try:
        with zipfile.ZipFile(source) as archive:
            size = sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise UserError(f"it is a broken archive ({error}).", where=source, do="Get the file again.") from error
    if size > source.stat().st_size:
        raise UserError("it is a compressed archive, which torch never writes.", where=source)


def _plain(name: str, value: Any) -> bool:
    """Whether a value is an ordinary tensor whose numbers are all there."""
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.device.type != "cpu":
        return False
    known = value.dtype in FLOATS or (value.dtype == torch.int64 and name.endswith("position_ids"))
    return known and value.nbytes <= value.untyped_storage().nbytes()


def _numbers(settings: Any) -> dict[str, float]:
    pairs = settings.items() if isinstance(settings, dict) else ()
    return {key: value for key, value in pairs if isinstance(value, int | float) and value > 0}
