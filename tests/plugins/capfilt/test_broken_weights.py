"""Weights that are damaged, called otherwise, pickled or of another size end in one line that names them."""

import json
import pickle
from pathlib import Path

import pytest
from mmbridge_capfilt import BlipOptions, OpenClipOptions, build_blip, build_open_clip
from mmbridge_registry import UserError
from toys import capfilt_parts


def never(*_: object) -> None:
    raise AssertionError("this part loads no run")


class Touch:
    """Touches a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple:
        return Path.touch, (self.file,)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return capfilt_parts.write_open_clip(tmp_path / "clip")


def refused(folder: Path, match: str, **options: object) -> None:
    chosen = OpenClipOptions.model_validate({"weights": str(folder), **options})
    with pytest.raises(UserError, match=match) as caught:
        build_open_clip(chosen, never, "cpu")
    assert "\n" not in str(caught.value)


def test_a_pickle_is_never_read_whatever_lies_beside_it(folder: Path, tmp_path: Path) -> None:
    (folder / "open_clip_pytorch_model.bin").write_bytes(pickle.dumps(Touch(tmp_path / "ran")))
    build_open_clip(OpenClipOptions(weights=str(folder)), never, "cpu")
    (folder / "open_clip_model.safetensors").rename(folder / "other.safetensors")
    refused(folder, "pickles are not read")
    assert not (tmp_path / "ran").exists()


def test_a_damaged_file_is_named(folder: Path) -> None:
    (folder / "open_clip_model.safetensors").write_bytes(b"cut")
    refused(folder, f"{folder}: open_clip cannot build this model")


def test_tensors_of_another_size_are_refused(folder: Path) -> None:
    file = folder / "open_clip_config.json"
    config = json.loads(file.read_text())
    config["model_cfg"]["embed_dim"] = 24
    file.write_text(json.dumps(config))
    refused(folder, "open_clip cannot build this model")


def test_an_unknown_architecture_is_refused(tmp_path: Path) -> None:
    refused(Path("random"), "ViT-Q", architecture="ViT-Q")


def test_a_damaged_blip_is_named(tmp_path: Path) -> None:
    folder = capfilt_parts.write_blip(tmp_path / "blip")
    (folder / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(UserError, match="this BLIP cannot be read") as caught:
        build_blip(BlipOptions(weights=str(folder)), never, "cpu")
    assert str(folder) in str(caught.value)


def test_another_model_is_no_blip(tmp_path: Path) -> None:
    folder = capfilt_parts.write_blip(tmp_path / "blip")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "opt"}))
    with pytest.raises(UserError, match="a 'opt' model, not a BLIP"):
        build_blip(BlipOptions(weights=str(folder)), never, "cpu")
