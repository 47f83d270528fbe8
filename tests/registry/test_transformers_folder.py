"""Folders of strangers are looked at before anything in them is opened."""

import json

import pytest
from mmbridge_registry import UserError
from mmbridge_registry.transformers_folder import check_weights, one_line, read_config, read_settings


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[1]", "not a JSON object"),
        ('{"model_type": "opt", "auto_map": {"AutoConfig": "x.Y"}}', "auto_map"),
        ('{"model_type": "llama"}', "'llama' model, not an OPT"),
        ("{}", "'None' model, not an OPT"),
    ],
)
def test_a_config_that_is_refused(tmp_path, text, message):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match=message) as error:
        read_config(tmp_path, "opt", "an OPT")
    assert error.value.where == str(tmp_path / "config.json")
    assert error.value.do


def test_a_config_that_is_read(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "opt", "hidden_size": 8}')
    assert read_config(tmp_path, "opt", "an OPT") == {"model_type": "opt", "hidden_size": 8}
    with pytest.raises(UserError, match=r"no config\.json"):
        read_config(tmp_path / "nowhere", "opt", "an OPT")


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "config.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not JSON"):
        read_settings(tmp_path / "config.json")


@pytest.mark.parametrize("shard", ["a.bin", "../a.safetensors", "/a.safetensors", "sub/a.safetensors", "a.pth"])
def test_an_index_names_safetensors_of_its_own_folder(tmp_path, shard):
    (tmp_path / "a.safetensors").touch()
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"x": "a.safetensors", "y": "a.safetensors"}}))
    check_weights(tmp_path)
    index.write_text(json.dumps({"weight_map": {"x": "a.safetensors", "y": shard}}))
    with pytest.raises(UserError, match="a shard is"):
        check_weights(tmp_path)


@pytest.mark.parametrize("index", ["{", "{}", '{"weight_map": [1]}', '{"weight_map": {"x": 1}}'])
def test_an_index_that_is_none(tmp_path, index):
    (tmp_path / "a.safetensors").touch()
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(UserError) as error:
        check_weights(tmp_path)
    assert error.value.where == str(tmp_path / "model.safetensors.index.json")


@pytest.mark.parametrize("pickle", ["pytorch_model.bin", "model.pth", "model.pt"])
def test_pickles_alone_are_no_weights(tmp_path, pickle):
    (tmp_path / pickle).touch()
    with pytest.raises(UserError, match=r"no \.safetensors file"):
        check_weights(tmp_path)


def test_an_adapter_is_not_laid_over_the_weights(tmp_path):
    (tmp_path / "a.safetensors").touch()
    (tmp_path / "adapter_config.json").touch()
    with pytest.raises(UserError, match="adapter"):
        check_weights(tmp_path)


def test_a_long_complaint_is_one_short_line(tmp_path):
    with pytest.raises(UserError) as error, one_line("it broke", tmp_path, "Mend it."):
        raise KeyError("many\nlines\n" * 100)
    assert len(str(error.value).splitlines()) == 1
    assert len(error.value.what) < 300
    assert isinstance(error.value.__cause__, KeyError)
    with pytest.raises(UserError, match="it broke: ValueError") as error, one_line("it broke", tmp_path, "Mend it."):
        raise ValueError
    with pytest.raises(UserError, match=r"^mine$"), one_line("it broke", tmp_path, "Mend it."):
        raise UserError("mine")
