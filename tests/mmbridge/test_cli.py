"""The command line: what it prints, where it prints it, how it ends."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmbridge_registry import UserError
from mmbridge_registry.discovery import Broken
from toys.parts import CONFIG, STUB, discovered

from mmbridge import cli
from mmbridge.cli import configs, fetching, planning, plugins, running


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a config of stub parts, in the working directory, that every command discovers."""
    for group in (configs, fetching, planning, plugins, running):
        monkeypatch.setattr(group, "discover", discovered)
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text(CONFIG)
    return Path("c.yaml")


class Done(SimpleNamespace):
    """How a command ended."""

    status: int
    out: str
    err: str


@pytest.fixture
def mmbridge(capsys: pytest.CaptureFixture[str]):
    def call(*arguments: str) -> Done:
        with pytest.raises(SystemExit) as caught:
            cli.main(arguments)
        captured = capsys.readouterr()
        return Done(status=caught.value.code, out=captured.out, err=captured.err)

    return call


def test_nothing_shows_the_help(mmbridge) -> None:
    done = mmbridge()
    assert done.status == 0
    assert all(command in done.out for command in ("run", "validate", "show", "plan", "ls", "cp", "plugins", "fetch"))
    assert mmbridge("--version").out.strip()[0].isdigit()


def test_validate(config: Path, mmbridge) -> None:
    done = mmbridge("validate", "c.yaml", "run.seed=4", "c.yaml")
    assert (done.status, done.out) == (0, "c.yaml: valid (representation, generation)\n" * 2)


def test_validate_shows_the_mistakes_of_all_files(config: Path, mmbridge) -> None:
    Path("bad.yaml").write_text(CONFIG.replace("queries", "querys"))
    done = mmbridge("validate", "bad.yaml", "c.yaml", "nowhere.yaml", "~evaluate")
    assert done.status == 2
    assert done.out == "c.yaml: valid (representation, generation)\n"
    first, second = done.err.splitlines()
    assert first.startswith("bad.yaml:4: model.bridge.querys: ")
    assert second.startswith("there is no config 'nowhere.yaml'")


def test_show_prints_a_valid_config(config: Path, mmbridge) -> None:
    shown = mmbridge("show", "c.yaml", "run.seed=9")
    Path("shown.yaml").write_text(shown.out)
    assert mmbridge("show", "shown.yaml").out == shown.out
    assert "seed: 9" in shown.out


def test_ls(config: Path, mmbridge) -> None:
    listed = json.loads(mmbridge("ls", "--json").out)
    assert "blip2_tiny" in [config["name"] for config in listed["configs"]]
    assert {"kind": "bridge", "name": "textual", "plugin": "stub", "about": "A bridge."} in listed["parts"]
    assert "textual" in mmbridge("ls").out


def test_plan(config: Path, mmbridge) -> None:
    planned = json.loads(mmbridge("plan", "c.yaml", "--json").out)
    assert planned["stages"]["representation"]["trainable_parameters"] == 67
    assert planned["stages"]["generation"]["samples"] == 80
    assert "bridge 67" in mmbridge("plan", "c.yaml").out


class TestCp:
    def test_a_config_and_its_base(self, config: Path, mmbridge) -> None:
        assert mmbridge("cp", "blip2_opt2.7b", "mine.yaml").status == 0
        assert Path("mine.yaml").read_text().startswith("# BLIP-2 with")
        assert Path("base/blip2_pretrain.yaml").is_file()
        assert mmbridge("cp", "blip2_opt6.7b", ".").out == "wrote blip2_opt6.7b.yaml\nwrote base/blip2_pretrain.yaml\n"

    def test_never_overwrites(self, config: Path, mmbridge) -> None:
        done = mmbridge("cp", "blip2_opt2.7b", "c.yaml")
        assert (done.status, config.read_text()) == (2, CONFIG)
        assert done.err == "c.yaml: it exists, and is not overwritten. Choose another destination.\n"
        assert not Path("base").exists()
        Path("base").mkdir()
        Path("base/blip2_pretrain.yaml").write_text("mine: 1")
        assert mmbridge("cp", "blip2_opt2.7b", "mine.yaml").status == 2
        assert Path("base/blip2_pretrain.yaml").read_text() == "mine: 1"
        assert not Path("mine.yaml").exists()


class TestErrors:
    def test_one_line_on_stderr_and_exit_2(self, config: Path, mmbridge) -> None:
        done = mmbridge("show", "c.yaml", "run.sed=1")
        assert (done.status, done.out) == (2, "")
        (line,) = done.err.splitlines()
        assert line.startswith("command line: run.sed: ")

    @pytest.mark.parametrize("arguments", [["frobnicate"], ["show"], ["show", "--x"], ["plugins"], ["plugins", "x"]])
    def test_usage(self, config: Path, mmbridge, arguments: list[str]) -> None:
        done = mmbridge(*arguments)
        assert (done.status, done.out, len(done.err.splitlines())) == (2, "", 1)
        assert "mmbridge --help" in done.err

    def test_a_bug_is_one_line_and_a_traceback_with_debug(
        self, config: Path, mmbridge, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object) -> None:
            raise KeyError("two\nlines")

        monkeypatch.setattr(configs, "load_recipe", fail)
        done = mmbridge("show", "c.yaml")
        assert (done.status, len(done.err.splitlines())) == (1, 1)
        assert "KeyError" in done.err and "--debug" in done.err
        for arguments in (["--debug", "show", "c.yaml"], ["show", "c.yaml", "--debug"]):
            with pytest.raises(KeyError):
                cli.main(arguments)

    def test_ctrl_c(self, config: Path, mmbridge, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(configs, "load_recipe", interrupt)
        done = mmbridge("show", "c.yaml")
        assert (done.status, len(done.err.splitlines())) == (130, 1)

    def test_missing_weights_stop_a_run_before_torch(self, config: Path, mmbridge) -> None:
        done = mmbridge("run", "c.yaml", "model.vision_encoder.weights=no/1", "model.bridge.init=no/2")
        assert done.status == 2
        first, second = done.err.splitlines()
        assert first.startswith("command line: model.vision_encoder.weights: weights 'no/1' are not on this machine")
        assert second.startswith("command line: model.bridge.init: weights 'no/2'")


class TestPlugins:
    def test_list(self, config: Path, mmbridge, monkeypatch: pytest.MonkeyPatch) -> None:
        broken = discovered()
        ill = type(STUB)("ill", "ill", "ill-parts", "0.1")
        broken.broken.append(Broken(ill, "ImportError: no left_pad"))
        monkeypatch.setattr(plugins, "discover", lambda: broken)
        monkeypatch.setattr(plugins, "installed", lambda: [ill, STUB])
        first, second = json.loads(mmbridge("plugins", "list", "--json").out)
        assert (first["plugin"], first["parts"], first["failure"]) == ("ill", [], "ImportError: no left_pad")
        assert (second["version"], second["failure"]) == ("1.2", None)
        assert "vision_encoder: eye" in second["parts"]
        assert "no left_pad" in mmbridge("plugins", "list").out


def test_fetch_names_what_it_cannot_get(config: Path, mmbridge, monkeypatch: pytest.MonkeyPatch) -> None:
    from mmbridge import weights as finding

    def refuse(value: str, where: str) -> Path:
        raise UserError(f"{value} cannot be fetched.", where=where)

    monkeypatch.setattr(finding, "download", refuse)
    done = mmbridge("fetch", "c.yaml", "model.bridge.init=no/such")
    assert done.status == 2
    assert done.err == "command line: model.bridge.init: no/such cannot be fetched.\n"
    assert mmbridge("fetch", "c.yaml").out == "random: random\n"


def test_fetch_takes_a_hub_id(config: Path, mmbridge, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from mmbridge import weights as finding

    asked: list[str] = []
    monkeypatch.setattr(finding, "download", lambda value: asked.append(value) or tmp_path)
    assert (
        mmbridge("fetch", "salesforce/blip2-opt-2.7b@abc").out == f"fetched salesforce/blip2-opt-2.7b@abc: {tmp_path}\n"
    )
    assert asked == ["salesforce/blip2-opt-2.7b@abc"]
    assert mmbridge("fetch", "configs/nowhere.yaml").status == 2
