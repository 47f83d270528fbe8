"""Ways to break a folder of transformers, and traps that strangers lay in one; a sprung trap leaves a file."""

import json
import pickle
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file


def change(folder: Path, **values: object) -> None:
    """Change config.json."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **values}))


def drop(folder: Path, name: str) -> None:
    """Lose a tensor."""
    tensors = load_file(folder / "model.safetensors")
    del tensors[name]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def cut(folder: Path) -> None:
    """Lose the second half of the weights."""
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])


class Payload:
    """What a pickle with code inside does when somebody opens it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


def bring_code(folder: Path, mark: Path) -> None:
    """Leave code beside the weights and ask for it."""
    _write_code(folder, mark)
    names = ("AutoConfig", "AutoModelForCausalLM", "AutoModelForSeq2SeqLM")
    change(folder, auto_map=dict.fromkeys(names, "stranger.Stranger"))


def bring_a_pickle(folder: Path, mark: Path) -> None:
    """Have pickles only."""
    (folder / "model.safetensors").unlink()
    for name in ("pytorch_model.bin", "model.pth"):
        (folder / name).write_bytes(pickle.dumps(Payload(mark)))


def bring_pickled_shards(folder: Path, mark: Path) -> None:
    """Let the index of a folder that has safetensors name a pickle."""
    names = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Payload(mark)))
    index = {"metadata": {}, "weight_map": dict.fromkeys(names, "pytorch_model.bin")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def bring_an_adapter(folder: Path, mark: Path) -> None:
    """Lay an adapter beside the weights, which transformers would put on top of them."""
    adapter = {"peft_type": "LORA", "base_model_name_or_path": "x", "target_modules": ["q", "q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(adapter))
    (folder / "adapter_model.bin").write_bytes(pickle.dumps(Payload(mark)))


def bring_a_tokenizer_with_code(folder: Path, mark: Path) -> None:
    """Leave code beside the tokenizer and ask for it."""
    _write_code(folder, mark)
    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text())
    file.write_text(json.dumps({**settings, "auto_map": {"AutoTokenizer": ["stranger.Stranger", None]}}))


TRAPS = (bring_code, bring_a_pickle, bring_pickled_shards, bring_an_adapter, bring_a_tokenizer_with_code)


def _write_code(folder: Path, mark: Path) -> None:
    (folder / "stranger.py").write_text(f"open({str(mark)!r}, 'w').close()\nclass Stranger: pass\n")
