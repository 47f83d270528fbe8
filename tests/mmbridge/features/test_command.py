"""`mmbridge data features`: what it says, and how it ends."""

import json
from pathlib import Path

import pytest
from toys.features import BARE, SMALL, SOUND, write_photos

from mmbridge import cli
from mmbridge.features import writing


def command(where: Path, *more: str) -> list[str]:
    own = {"name": "image_text", "annotations": where / "list.jsonl", "images": where / "photos"}
    named = [f"data.mine.{key}={value}" for key, value in own.items()]
    return ["data", "features", "blip2_tiny", *BARE, *SMALL, *named, *more]


def end(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    return int(ended.value.code or 0)


def test_it_says_what_it_will_take_and_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_photos(tmp_path)
    written = command(tmp_path, f"features.folder={tmp_path}/features", "--json")
    assert end(written) == 0
    said = capsys.readouterr()
    assert f"{SOUND + 2} images x 1 x 65 x 96 float32, 0.000524 GB to write" in said.err
    assert f"encoding mine: {SOUND + 2} of {SOUND + 2}" in said.err
    [row] = json.loads(said.out)
    assert row["records"] == 2 * SOUND + 2 and row["images"] == row["written"] == SOUND + 2
    assert row["unreadable"] == 2 and row["bytes"] == (SOUND + 2) * 65 * 96 * 4
    assert end(written) == 0
    again = capsys.readouterr()
    assert "0 GB to write" in again.err and json.loads(again.out)[0]["written"] == 0


def test_a_config_without_the_section_is_told_how(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert end(command(tmp_path)) == 2
    assert "no section 'features'. Say where features shall lie: features.folder=" in capsys.readouterr().err


def test_ctrl_c_says_that_the_same_command_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_photos(tmp_path)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(writing, "encode", interrupted)
    assert end(command(tmp_path, f"features.folder={tmp_path}/features")) == 130
    assert "whole shards stay, and the same command goes on" in capsys.readouterr().err
