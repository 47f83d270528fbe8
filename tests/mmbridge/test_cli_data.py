"""`mmbridge data`: what it finds is what a run meets, and how it ends says whether the run would."""

import json
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mmbridge_registry import Batch
from mmbridge_registry.annotated import numbered
from toys.spoilt_folder import EXPECTED, SPOILT, sound_folder, spoilt_folder, write_list

from mmbridge import cli
from mmbridge.data.order import draw

BARE = ("blip2_tiny", "~data", "~stages.representation.data", "~evaluate")
Call = Callable[..., tuple[int, Any, str]]


def own(name: str, folder: str = ".") -> list[str]:
    """Overrides that name a data set."""
    options = {"name": "image_text", "annotations": f"{folder}/list.jsonl", "images": f"{folder}/photos"}
    return [f"data.{name}.{key}={value}" for key, value in options.items()]


@pytest.fixture
def mmbridge(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Call the command line in an empty folder; give the exit code, stdout (read, if it is JSON) and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MMBRIDGE_CACHE", str(tmp_path / "cache"))

    def call(*arguments: str) -> tuple[int, Any, str]:
        with pytest.raises(SystemExit) as caught:
            cli.main(arguments)
        said = capsys.readouterr()
        out = json.loads(said.out) if "--json" in arguments and said.out else said.out
        return int(caught.value.code or 0), out, said.err

    return call


@pytest.fixture
def clean(tmp_path: Path) -> None:
    write_list(tmp_path / "list.jsonl", sound_folder(tmp_path / "photos", 40))


class TestDoctor:
    def test_a_clean_folder(self, mmbridge: Call, clean: None) -> None:
        code, out, err = mmbridge("data", "doctor", *BARE, *own("mine"), "--workers", "0")
        assert (code, err) == (0, "")
        lines = out.splitlines()
        assert lines[0] == "data.mine · image_text · 40 records, all checked"
        assert "nothing is wrong" in lines[1] and "40 captions" in lines[2]
        assert out.count("fine") == 2 and "would stop" not in out

    def test_every_defect_in_a_table(self, mmbridge: Call, tmp_path: Path) -> None:
        spoilt_folder(tmp_path)
        side = "model.vision_encoder.image_size=48"
        code, out, err = mmbridge("data", "doctor", *BARE, *own("mine"), side, "--all", "--workers", "2")
        assert (code, err) == (1, "")
        rows = [line.split("  ") for line in out.splitlines() if line.startswith("    ") and "%" in line]
        assert len(rows) == len(EXPECTED)
        for row, names in zip(rows, EXPECTED.values(), strict=True):
            assert names[0] in row[-1] or names[0] in "".join(row), row
        assert out.count("would stop") == 2 and "14.46% of its samples" in out

    def test_json_has_everything(self, mmbridge: Call, tmp_path: Path) -> None:
        spoilt_folder(tmp_path)
        code, found, _ = mmbridge("data", "doctor", *BARE, *own("mine"), "--all", "--workers", "0", "--json")
        (mine,) = found["data_sets"]
        named = {kind: [case["name"] for case in finding["cases"]] for kind, finding in mine["findings"].items()}
        assert named == {kind: names for kind, names in EXPECTED.items() if kind != "enlarged"}
        assert (code, found["fine"], mine["spoilt"]) == (1, False, SPOILT)
        assert found["forecast"]["stages.generation"]["stops"]

    def test_the_limit_of_the_run_decides(self, mmbridge: Call, tmp_path: Path) -> None:
        spoilt_folder(tmp_path)
        code, out, _ = mmbridge("data", "doctor", *BARE, *own("mine"), "run.max_bad_fraction=0.2", "--workers", "0")
        assert code == 0 and out.count("fine") == 2 and "14.46% of its samples" in out

    def test_a_sample_is_the_same_again(self, mmbridge: Call, tmp_path: Path) -> None:
        spoilt_folder(tmp_path)
        asked = ("data", "doctor", *BARE, *own("mine"), "--sample", "30", "--json")
        first, again = mmbridge(*asked, "--workers", "0"), mmbridge(*asked, "--workers", "2")
        assert first == again and first[1]["data_sets"][0]["checked"] == 30
        assert mmbridge(*asked, "run.seed=1") != first

    def test_data_of_evaluations_once_each(self, mmbridge: Call, clean: None, tmp_path: Path) -> None:
        (tmp_path / "photos" / "3.jpg").write_bytes(b"")
        data = "data: {name: image_text, annotations: ./list.jsonl, images: ./photos}"
        evaluations = [f"evaluate.{name}={{name: retrieval, stages: [generation], {data}}}" for name in ("one", "two")]
        code, found, _ = mmbridge("data", "doctor", *BARE, *own("mine"), *evaluations, "--workers", "0", "--json")
        assert [one["name"] for one in found["data_sets"]] == ["data.mine, evaluate.one, evaluate.two"]
        stops = {name: one["stops"] for name, one in found["forecast"].items()}
        assert stops == {
            "stages.representation": False, "stages.generation": False, "evaluate.one": True, "evaluate.two": True,
        }  # fmt: skip
        assert code == 1

    def test_what_cannot_be_opened_does_not_hide_the_rest(self, mmbridge: Call, clean: None) -> None:
        code, out, _ = mmbridge("data", "doctor", *BARE, *own("gone", "nowhere"), *own("mine"), "--workers", "0")
        assert code == 1
        assert "cannot be opened: nowhere/list.jsonl: there is no such annotation file" in out
        assert "nothing is wrong with them" in out

    def test_without_torch(self, mmbridge: Call, clean: None) -> None:
        child = "import sys; from mmbridge.cli import main\ntry: main(sys.argv[1:])\n"
        child += "except SystemExit as done: print(done.code, 'torch' in sys.modules)"
        arguments = ["data", "doctor", *BARE, *own("mine"), "--workers", "0"]
        done = subprocess.run([sys.executable, "-c", child, *arguments], capture_output=True, text=True, check=False)
        assert done.stdout.splitlines()[-1] == "0 False", done.stderr

    def test_ctrl_c(self, mmbridge: Call, clean: None, monkeypatch: pytest.MonkeyPatch) -> None:
        from mmbridge.data import processes

        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(processes, "examine", interrupt)
        code, _, err = mmbridge("data", "doctor", *BARE, *own("mine"), "--workers", "0")
        assert (code, len(err.splitlines())) == (130, 1)


class TestIndex:
    def test_records_and_seconds(self, mmbridge: Call, clean: None, tmp_path: Path) -> None:
        code, (mine,), _ = mmbridge("data", "index", *BARE, *own("mine"), "--json")
        assert (code, mine["name"], mine["records"], mine["failure"]) == (0, "data.mine", 40, None)
        assert mine["seconds"] > 0
        assert list((tmp_path / "cache").rglob("*.arrow")), "the table must be there for the run"
        assert "data.mine" in mmbridge("data", "index", *BARE, *own("mine"))[1]

    def test_failures_are_named_and_the_others_opened(self, mmbridge: Call, clean: None) -> None:
        code, out, err = mmbridge("data", "index", *BARE, *own("gone", "nowhere"), *own("mine"))
        assert code == 1 and "40" in out
        assert err.startswith("data.gone cannot be opened: nowhere/list.jsonl: ") and len(err.splitlines()) == 1

    @pytest.mark.parametrize("workers", ["1", "2"])
    def test_a_tar_that_changed_is_indexed_if_asked_for(self, workers: str, mmbridge: Call, clean: None) -> None:
        with tarfile.open("a.tar", "w") as tar:
            tar.add("photos/1.jpg", "1.jpg")
        asked = ("data", "index", *BARE, *own("mine"), "data.tars.name=image_tars", "data.tars.tars=a.tar", "--json")
        code, found, _ = mmbridge(*asked, "--workers", workers)
        assert code == 0 and [one["records"] for one in found] == [40, 1]
        with tarfile.open("a.tar", "a") as tar:
            tar.add("photos/2.jpg", "2.jpg")
        code, found, _ = mmbridge(*asked, "--workers", workers)
        assert code == 1 and found[0]["records"] == 40 and "--again" in found[1]["failure"]
        code, found, _ = mmbridge(*asked, "--workers", workers, "--again")
        assert code == 0 and found[1]["records"] == 2
        assert mmbridge(*asked, "--workers", workers)[0] == 0

    def test_no_data(self, mmbridge: Call) -> None:
        code, _, err = mmbridge("data", "index", "blip2_tiny", "~data", "~stages", "~evaluate")
        assert code == 2 and len(err.splitlines()) == 1


class TestTrace:
    def test_rows(self, mmbridge: Call, clean: None) -> None:
        asked = ("data", "trace", *BARE, *own("mine"), "--step", "3", "--stage", "generation")
        code, found, _ = mmbridge(*asked, "stages.generation.batch_size=8", "--json", "--rows", "2:5")
        assert (code, found["stage"], found["step"], found["batch_size"]) == (0, "generation", 3, 8)
        assert [row["position"] for row in found["rows"]] == [18, 19, 20]
        for row in found["rows"]:
            assert row["name"] == f"{row['index']}.jpg" and row["text"] == f"noise, number {row['index']}"
        table = mmbridge(*asked, "--rows", ":1")[1]
        assert table.startswith("generation, step 3 ") and "noise, number" in table and "answer" not in table

    def test_brackets_are_printed_as_they_are(self, mmbridge: Call, clean: None, tmp_path: Path) -> None:
        write_list(tmp_path / "list.jsonl", [{"image": "1.jpg", "caption": "A [bold] cat [/red]"}])
        assert "a [bold] cat [/red]" in mmbridge("data", "trace", *BARE, *own("mine"), "--rows", ":1")[1]
        write_list(tmp_path / "list.jsonl", [{"image": "1.jpg", "caption": "A [bold] cat [/red]"}] * 12)
        assert "a [bold] cat [/red]" in mmbridge("data", "doctor", *BARE, *own("mine"), "--workers", "0")[1]

    @pytest.mark.parametrize(
        ("wrong", "said"),
        [
            (["--step", "0"], "--step"),
            (["--step", "100000000"], "--step"),
            (["--stage", "generatoin"], "did you mean 'generation'"),
            (["--rows", "5"], "--rows"),
            (["--rows", "a:b"], "--rows"),
            (["--rows", "4:4"], "--rows"),
        ],
    )
    def test_mistakes(self, mmbridge: Call, clean: None, wrong: list[str], said: str) -> None:
        code, _, err = mmbridge("data", "trace", *BARE, *own("mine"), *wrong)
        assert code == 2 and said in err and len(err.splitlines()) == 1


@pytest.mark.slow
def test_a_mixture_with_broken_images_trains_as_foretold(
    mmbridge: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three data sets of 200 with 2 % broken: constant batches, the quarantine as foretold, the steps as traced."""
    from mmbridge import runner

    for number, name in enumerate("abc"):
        rows = sound_folder(tmp_path / name / "photos", 200, first=200 * number)
        rows[5 + number]["caption"] = "..."
        write_list(tmp_path / name / "list.jsonl", rows)
        photos = [tmp_path / name / "photos" / row["image"] for row in rows]
        photos[50 + number].unlink()
        photos[99 + number].write_bytes(b"")
        photos[150 + number].write_bytes(photos[150 + number].read_bytes()[:-500])
    seen: dict[tuple[str, int], Batch] = {}
    take_step = runner.take_step

    def watched(running, training, batch, step):
        seen[training.name, step] = batch
        return take_step(running, training, batch, step)

    monkeypatch.setattr(runner, "take_step", watched)
    weights = ["data.a.weight=0.4", "data.b.weight=0.3", "data.c.weight=0.3"]
    settings = [*own("a", "a"), *own("b", "b"), *own("c", "c"), *weights, "run.threads=1", "run.workers=0",
                "stages.representation.steps=50", "stages.representation.batch_size=16",
                "stages.generation.steps=2", "stages.generation.batch_size=4"]  # fmt: skip
    assert mmbridge("data", "doctor", *BARE, *settings, "--all", "--workers", "0")[0] == 1
    settings.append("run.max_bad_fraction=0.05")
    code, foretold, _ = mmbridge("data", "doctor", *BARE, *settings, "--all", "--workers", "0", "--json")
    assert code == 0 and [one["spoilt"] for one in foretold["data_sets"]] == [4, 4, 4]

    assert mmbridge("run", *BARE, *settings)[0] == 0
    assert {len(batch) for (stage, _), batch in seen.items() if stage == "representation"} == {16}
    lines = [json.loads(line) for line in Path("runs/blip2_tiny/quarantine.jsonl").read_text().splitlines()]
    replaced = sorted((f"data.{line['dataset']}", line["name"], line["reason"]) for line in lines)
    assert replaced == sorted(
        (one["name"], case["name"], case["detail"])
        for one in foretold["data_sets"]
        for kind in ("missing", "empty_file", "truncated", "no_caption")
        for case in one["findings"][kind]["cases"]
    )
    for (stage, step), batch in seen.items():
        if step in {1, 2, 37}:
            traced = mmbridge("data", "trace", *BARE, *settings, "--stage", stage, "--step", str(step), "--json")[1]
            assert [row["position"] for row in traced["rows"]] == batch.positions.tolist()
            numbers = [draw(row["dataset"], "image", numbered(row["name"])) for row in traced["rows"]]
            assert numbers == batch.image_ids.tolist()
