"""`mmbridge data capfilt` and the commands around it: what they print, and with which exit code they end."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from toys import capfilt_parts

from mmbridge import cli
from mmbridge.capfilt.pipeline import Pipeline
from mmbridge.cli import capfilt as command

CONFIG = """
data: {name: image_tars, tars: tars}
captioner: {name: namer}
scorer: {name: hashed}
captions: 4
records_per_shard: 3
batch_size: 2
output: out
"""
Call = Callable[..., tuple[int, Any, str]]


@pytest.fixture
def mmbridge(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Call the command line in a folder with a config and ten pictures; give the exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MMBRIDGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(command, "discover", capfilt_parts.found)
    capfilt_parts.write_tar(tmp_path / "tars", 10, broken=(4,))
    (tmp_path / "mine.yaml").write_text(CONFIG)

    def call(*arguments: str) -> tuple[int, Any, str]:
        with pytest.raises(SystemExit) as caught:
            cli.main(arguments)
        said = capsys.readouterr()
        out = json.loads(said.out) if "--json" in arguments and said.out else said.out
        return int(caught.value.code or 0), out, said.err

    return call


def test_it_says_what_came_of_it_and_names_what_it_left_out(mmbridge: Call) -> None:
    code, out, err = mmbridge("data", "capfilt", "mine.yaml")
    assert code == 0
    assert "captioning: 10 of 10" in err
    assert "unusable: record 4: 000000004.jpg@00000.tar: " in err
    assert out.splitlines()[2].split()[:2] == ["9", "1"]
    code, figures, _ = mmbridge("data", "capfilt", "mine.yaml", "--json")
    assert (code, figures["images"], figures["kept"], figures["shards"]) == (0, 9, 18, 4)


def test_ranks_of_torchrun_make_their_shares(mmbridge: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, there in ((1, {1, 3}), (0, {0, 1, 2, 3})):
        monkeypatch.setenv("RANK", str(rank))
        assert mmbridge("data", "capfilt", "mine.yaml")[0] == 0
        assert {int(tar.stem) for tar in (tmp_path / "out").glob("*.tar")} == there


def test_ctrl_c_leaves_whole_shards_and_says_that_it_goes_on(
    mmbridge: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    caption, calls = Pipeline.caption, []

    def interrupted(self: Pipeline, batch: Any, seed: int) -> Any:
        calls.append(seed)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return caption(self, batch, seed)

    monkeypatch.setattr(Pipeline, "caption", interrupted)
    code, _, err = mmbridge("data", "capfilt", "mine.yaml")
    assert code == 130
    assert "the same command goes on" in err
    assert {tar.name for tar in (tmp_path / "out").glob("*.tar*")} == {"00000.tar", "00001.tar"}
    monkeypatch.setattr(Pipeline, "caption", caption)
    assert mmbridge("data", "capfilt", "mine.yaml", "--json")[1]["images"] == 9


def test_weights_that_were_missing_do_not_bind_the_folder(mmbridge: Call) -> None:
    code, _, err = mmbridge("data", "capfilt", "mine.yaml", "captioner={name: blip, weights: nowhere}")
    assert code == 2
    assert "command line: captioner" in err and "'nowhere' are not on this machine" in err
    assert mmbridge("data", "capfilt", "mine.yaml")[0] == 0
    code, _, err = mmbridge("data", "capfilt", "mine.yaml", "seed=1")
    assert code == 2
    assert "were made with seed = 0, now it is 1" in err


def test_other_commands_know_such_a_config(mmbridge: Call, tmp_path: Path) -> None:
    assert "capfilt/blip_large" in [config["name"] for config in mmbridge("ls", "--json")[1]["configs"]]
    code, out, _ = mmbridge("validate", "capfilt/blip_large", "blip2_tiny")
    assert (code, out.count("valid (")) == (0, 2)
    assert "did you mean 'keep'" in mmbridge("validate", "capfilt/blip_large", "kep=1")[2]
    assert mmbridge("cp", "capfilt/blip_large", "copy.yaml")[0] == 0
    blip, clip = (capfilt_parts.write_blip(tmp_path / "blip"), capfilt_parts.write_open_clip(tmp_path / "clip"))
    weights = [f"captioner.weights={blip}", f"scorer.weights={clip}"]
    code, fetched, _ = mmbridge("fetch", "copy.yaml", *weights, "--json")
    assert (code, set(fetched["weights"].values())) == (0, {str(blip), str(clip)})
