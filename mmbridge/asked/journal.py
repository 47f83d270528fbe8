"""The journal of an evaluation under way: what the model has answered, a file per part; nothing is asked twice."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmbridge.disk import publish

KEY, CALL = "key.json", "asked.json"


class Journal:
    """Parts of the answers to an evaluation's calls, numbered in the order in which it makes them.

    `key` says whose answers they are (the step, the evaluation, its data): those of another are forgotten. The ranks
    read it and rank 0 writes it. Without a folder nothing is kept.
    """

    def __init__(self, folder: Path | None, key: Mapping[str, Any], writes: bool = True) -> None:
        self.folder, self.writes = folder, writes
        self.calls = 0
        if folder and writes and _read(folder / KEY) != key:
            shutil.rmtree(folder, ignore_errors=True)
            publish(folder / KEY, 0, lambda partial: partial.write_text(json.dumps(key)))

    def begin(self, asked: Any) -> "Call":
        """Give the pages of the next call; `asked` is what is asked, as JSON holds it.

        If another thing was asked here before, that and all that came after it is forgotten.
        """
        self.calls += 1
        if self.folder is None:
            return Call(None, self.writes)
        folder = self.folder / f"call-{self.calls:03d}"
        digest = hashlib.sha256(json.dumps(asked).encode()).hexdigest()
        if self.writes and _read(folder / CALL) != digest:
            for later in self.folder.glob("call-*"):
                if later.name >= folder.name:
                    shutil.rmtree(later)
            publish(folder / CALL, 0, lambda partial: partial.write_text(json.dumps(digest)))
        return Call(folder, self.writes)

    def forget(self) -> None:
        """Remove it: the evaluation is done and written."""
        if self.folder and self.writes:
            shutil.rmtree(self.folder, ignore_errors=True)


class Call:
    """The parts of one call."""

    def __init__(self, folder: Path | None, writes: bool) -> None:
        self.folder, self.writes = folder, writes

    def read(self, part: int) -> bytes | None:
        """Give a part that was answered before; None if it was not."""
        try:
            return self._file(part).read_bytes() if self.folder else None
        except FileNotFoundError:
            return None

    def write(self, part: int, answers: bytes) -> None:
        """Keep the answers to a part, whole or not at all."""
        if self.folder and self.writes:
            publish(self._file(part), 0, lambda partial: partial.write_bytes(answers))

    def _file(self, part: int) -> Path:
        assert self.folder is not None
        return self.folder / f"part-{part:05d}.safetensors"


def asked_after(folder: Path) -> int:
    """Give the step after which the evaluation of a journal was asked; 0 if it does not say."""
    return (_read(folder / KEY) or {}).get("step", 0)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
