"""A run directory from a stranger: whatever lies in its checkpoints is never unpickled."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from mmbridge_registry import UserError
from torch import nn

from mmbridge import checkpoint


class Boom:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


@pytest.fixture
def hostile(tmp_path: Path) -> tuple[Path, Path]:
    """A sound checkpoint, and the file that appears if code of its runs."""
    layer = nn.Linear(2, 1)
    snapshot = checkpoint.Snapshot.of(dict(layer.named_parameters()), {"step": 1})
    return checkpoint.write(tmp_path / "stage", snapshot, keep=1), tmp_path / "owned"


@pytest.mark.parametrize("file", [checkpoint.WEIGHTS, checkpoint.OPTIMIZER, checkpoint.STATE])
@pytest.mark.parametrize("form", ["pickle", "torch"])
def test_a_pickle_under_a_good_name_and_a_good_manifest(hostile: tuple[Path, Path], file: str, form: str) -> None:
    path, owned = hostile
    if form == "pickle":
        (path / file).write_bytes(pickle.dumps(Boom(owned)))
    else:
        torch.save(Boom(owned), path / file)
    manifest = {name: checkpoint._fingerprint(path / name) for name in json.loads((path / "manifest.json").read_text())}
    (path / checkpoint.MANIFEST).write_text(json.dumps(manifest))
    layer = nn.Linear(2, 1)
    with pytest.raises(UserError, match="step-00000001"):
        found = checkpoint.read(path)
        found.weights()
        checkpoint.load_optimizer(found, dict(layer.named_parameters()), torch.optim.AdamW(layer.parameters()))
    assert not owned.exists()


@pytest.mark.parametrize("name", [".metadata", "__0_0.distcp", "optimizer.pt", "pytorch_model.bin"])
def test_a_folder_of_pickles_is_no_checkpoint(tmp_path: Path, name: str) -> None:
    owned, folder = tmp_path / "owned", tmp_path / "stage" / "step-00000002"
    folder.mkdir(parents=True)
    (folder / name).write_bytes(pickle.dumps(Boom(owned)))
    found, reasons = checkpoint.newest(tmp_path / "stage")
    assert found is None and "not a complete checkpoint" in reasons[0]
    assert not owned.exists()


@pytest.mark.parametrize("name", ["../../outside", "/etc/hostname"])
def test_a_manifest_that_names_files_elsewhere_takes_none_of_its_own_out(hostile: tuple[Path, Path], name: str) -> None:
    path, _ = hostile
    manifest = json.loads((path / checkpoint.MANIFEST).read_text())
    del manifest[checkpoint.WEIGHTS]
    (path / checkpoint.MANIFEST).write_text(json.dumps(manifest | {name: {"sha256": "0", "bytes": 1}}))
    with pytest.raises(UserError, match="step-00000001"):
        checkpoint.read(path)
