"""Checkpoints: safetensors and JSON under a manifest, published by one rename. Nothing is ever unpickled."""

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmbridge_registry import UserError
from mmbridge_registry.bridge import Pass
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mmbridge.best import best_of
from mmbridge.disk import to_disk

WEIGHTS, OPTIMIZER, STATE, MANIFEST = "weights.safetensors", "optimizer.safetensors", "state.json", "manifest.json"


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint on disk, its manifest verified."""

    path: Path
    state: Mapping[str, Any]

    @property
    def stage(self) -> str:
        """Name of the stage that wrote it."""
        return str(self.state["stage"])

    @property
    def step(self) -> int:
        """Optimizer steps taken."""
        return int(self.state["step"])

    @property
    def lacks(self) -> frozenset[str]:
        """Names of tensors that the project it was imported from does not have; a run's own checkpoint lacks none."""
        return frozenset(self.state.get("lacks", ()))

    @property
    def in_step(self) -> frozenset[Pass] | None:
        """Passes of the bridge that were last trained together; None if the project it comes from does not say."""
        passes: list[Pass] | None = self.state.get("in_step")
        return None if passes is None else frozenset(passes)

    def learned(self, names: Iterable[str]) -> set[str]:
        """Of the names of its tensors, those that were trained; an import does not say, and has only such."""
        return set(self.state.get("learned", names)).intersection(names)

    def weights(self) -> dict[str, Tensor]:
        """Read the tensors by name."""
        return _tensors(self.path / WEIGHTS)


@dataclass(frozen=True)
class Snapshot:
    """What a checkpoint will hold, copied to host memory: training may go on and change the originals."""

    weights: Mapping[str, Tensor]
    moments: Mapping[str, Tensor]
    state: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        weights: Mapping[str, Tensor],
        state: Mapping[str, Any],
        trained: Mapping[str, nn.Parameter] | None = None,
        optimizer: torch.optim.Optimizer | None = None,
    ) -> "Snapshot":
        """Copy tensors as they are now. Without an optimizer (an import) there are no moments in it."""
        moments = {
            f"{name}|{key}": _copy(value)
            for name, parameter in (trained or {}).items()
            for key, value in (optimizer.state.get(parameter, {}) if optimizer else {}).items()
        }
        return cls({name: _copy(tensor) for name, tensor in weights.items()}, moments, dict(state))


def write(folder: Path, snapshot: Snapshot, keep: int) -> Path:
    """Write `folder/step-NNNNNNNN` so that it is there whole or not at all, then remove the oldest beyond `keep`.

    The best one, if any was found to be the best, is not removed. Those of later steps are not counted: whoever writes
    this one has found them broken.

    Raises:
        OSError: there is no room, or no right to write; what stood there before still stands.
    """
    final = folder / f"step-{snapshot.state['step']:08d}"
    for stale in folder.glob("step-*.tmp"):
        shutil.rmtree(stale, ignore_errors=True)
    partial = folder / f"{final.name}.tmp"
    try:
        partial.mkdir(parents=True)
        _fill(partial, snapshot)
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
    except SafetensorError as error:
        raise OSError(str(error)) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    to_disk(folder)
    best = best_of(folder)
    for old in [one for one in _folders(folder) if one <= final][keep:]:
        if best is None or old != folder / f"step-{best.step:08d}":
            shutil.rmtree(old, ignore_errors=True)
    return final


def _fill(partial: Path, snapshot: Snapshot) -> None:
    """Write the files, the manifest last, and wait until they are on the disk."""
    save_file(dict(snapshot.weights), partial / WEIGHTS)
    save_file(dict(snapshot.moments), partial / OPTIMIZER)
    (partial / STATE).write_text(json.dumps(snapshot.state, indent=1))
    manifest = {name: _fingerprint(partial / name) for name in (WEIGHTS, OPTIMIZER, STATE)}
    (partial / MANIFEST).write_text(json.dumps(manifest, indent=1))
    for file in partial.iterdir():
        to_disk(file)
    to_disk(partial)


def newest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """Find the newest checkpoint whose manifest verifies, and say of each newer one why it was passed over."""
    passed_over = []
    for path in _folders(folder):
        try:
            return read(path), passed_over
        except UserError as error:
            passed_over.append(str(error))
    return None, passed_over


def read(path: Path) -> Checkpoint:
    """Open one checkpoint.

    Raises:
        UserError: a file is missing or differs from the manifest; the message names it.
    """
    try:
        manifest = json.loads((path / MANIFEST).read_text())
        for name in (WEIGHTS, OPTIMIZER, STATE):
            if _fingerprint(path / name) != manifest.get(name):
                raise UserError(f"{name} differs from the manifest.", where=path, do="Use another checkpoint.")
        return Checkpoint(path, json.loads((path / STATE).read_text()))
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"not a complete checkpoint ({error}).", where=path, do="Use another checkpoint.") from error


def load_optimizer(
    checkpoint: Checkpoint, trained: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer
) -> None:
    """Put the saved moments back, strictly: the same parameters must be trained."""
    moments = _tensors(checkpoint.path / OPTIMIZER)
    names = {name.rsplit("|", 1)[0] for name in moments}
    if moments and names != set(trained):
        different = sorted(names ^ set(trained))[:3]
        raise UserError(f"it trained other tensors than this stage does ({', '.join(different)}, ...).",
                        where=checkpoint.path, do="Start a new run (run.name=...).")  # fmt: skip
    for name, parameter in trained.items():
        state = {key: moments[f"{name}|{key}"] for key in ("step", "exp_avg", "exp_avg_sq") if moments}
        if state:
            step_device = parameter.device if optimizer.defaults.get("fused") else "cpu"
            optimizer.state[parameter] = {
                "step": state["step"].to(step_device),
                "exp_avg": state["exp_avg"].to(parameter.device),
                "exp_avg_sq": state["exp_avg_sq"].to(parameter.device),
            }


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise UserError(f"not a safetensors file ({error}).", where=path, do="Use another checkpoint.") from error


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True).contiguous()


def _folders(folder: Path) -> list[Path]:
    """Published checkpoints, newest first; half-written ones end in .tmp and are none."""
    return sorted((path for path in folder.glob("step-*") if path.suffix != ".tmp"), reverse=True)


def _fingerprint(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "bytes": path.stat().st_size}
