"""Sweeps: intervals, what a sweep's file may say, and runs that are interrupted, fail, go on and are compared."""

import json
import math
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mmbridge_registry import UserError
from mmbridge_registry.discovery import Discovered, discover

from mmbridge import cli
from mmbridge.config import ConfigError
from mmbridge.sweep.comparing import Comparison
from mmbridge.sweep.declared import Planned
from mmbridge.sweep.intervals import Mean, t_quantile
from mmbridge.sweep.layers import combined
from mmbridge.sweep.reading import load_sweep

SWEEP = """\
config: blip2_tiny_opt
overrides:
  - stages.representation.steps=4
  - stages.generation.steps=2
variants:
  full: []
  no_stage_1: [~stages.representation, ~evaluate.retrieval]
  last_layer:
    - model.vision_encoder.output_layer=-1
seeds: [0, 1, 2]
compare: [captions/exact, representation/retrieval/itm_accuracy]
"""


@pytest.fixture(scope="module")
def found() -> Discovered:
    return discover()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "three.yaml"
    path.write_text(SWEEP)
    return path


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.99])
def test_quantiles_of_student(confidence: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    assert t_quantile(1, confidence) == pytest.approx(math.tan(math.pi * confidence / 2), rel=1e-12)
    assert t_quantile(2, confidence) == pytest.approx(confidence * math.sqrt(2 / (1 - confidence**2)), rel=1e-12)
    for freedom in [*range(1, 31), 100, 501]:
        assert t_quantile(freedom, confidence) == pytest.approx(stats.t.ppf((1 + confidence) / 2, freedom), rel=1e-12)


@pytest.mark.parametrize(("freedom", "printed"), [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (9, 2.262)])
def test_quantiles_that_every_table_has(freedom: int, printed: float) -> None:
    assert round(t_quantile(freedom), 3) == printed


@pytest.mark.parametrize("n", [2, 3, 5])
def test_an_interval_holds_the_truth_as_often_as_it_says(n: int) -> None:
    draws = np.random.default_rng(n).normal(3, 2, (4000, n))
    means = [Mean.of(row) for row in draws.tolist()]
    held = [mean.interval is not None and mean.interval[0] <= 3 <= mean.interval[1] for mean in means]
    assert np.mean(held) == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / 4000))


def test_one_measurement_has_no_interval_and_shows_no_difference() -> None:
    one = Mean.of([0.7])
    assert (one.value, one.interval, one.n, one.excludes_zero) == (0.7, None, 1, False)


@pytest.mark.parametrize(
    ("values", "excludes"),
    [([0.1, 0.11, 0.12], True), ([0.1, 0.12], False), ([-0.1, 0.1, 0.2], False), ([0, 0], False)],
)
def test_a_difference_is_one_if_its_interval_excludes_zero(values: list[float], excludes: bool) -> None:
    assert Mean.of(values).excludes_zero == excludes
    assert Mean.of([-value for value in values]).excludes_zero == excludes


def test_what_a_later_layer_removes_an_earlier_one_no_longer_sets() -> None:
    earlier = ["stages.one.steps=4", "stages.one.optimizer.lr=1e-4", "stages.one_more.steps=5", "~evaluate.x"]
    assert combined(earlier, ["~stages.one"]) == ("stages.one_more.steps=5", "~evaluate.x", "~stages.one")
    assert combined(["~stages.one"], ["stages.two.steps=3"]) == ("~stages.one", "stages.two.steps=3")


def test_every_variant_is_the_config_with_its_overrides_seed_by_seed(file: Path, found: Discovered) -> None:
    sweep = load_sweep(
        file, ["run.directory=there", "stages.representation.batch_size=8", "stages.generation.steps=3"], found
    )
    assert [run.name for run in sweep.runs[:4]] == ["full-seed0", "no_stage_1-seed0", "last_layer-seed0", "full-seed1"]
    assert {(run.recipe.run.seed, run.name[-1]) for run in sweep.runs} == {(0, "0"), (1, "1"), (2, "2")}
    assert sweep.folder == Path("there/three") and sweep.runs[0].directory.path == Path("there/three/full-seed0")
    full, without, last = (run.recipe for run in sweep.runs[:3])
    assert [stage.steps for stage in full.stages.values()] == [4, 3]
    assert list(without.stages) == ["generation"] and "retrieval" not in without.evaluate
    assert full.stages["representation"].batch_size == last.stages["representation"].batch_size == 8
    layers = [one.model.vision_encoder.options.model_dump()["output_layer"] for one in (full, without, last)]
    assert layers == [-2, -2, -1]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "overrides:",
            "overides:",
            "three.yaml:2: overides: a sweep has no option 'overides'; did you mean 'overrides'?",
        ),
        ("output_layer=", "output_layr=", "three.yaml:9: model.vision_encoder.output_layr: variant last_layer: "),
        ("generation.steps", "generation.stepz", "three.yaml:4: stages.generation.stepz: a stage has no option"),
        ("[~stages.rep", "[~stages.rap", "three.yaml:7: stages.rapresentation: variant no_stage_1: there is no"),
        (", ~evaluate.retrieval", "", "evaluate.retrieval.stages.0: variant no_stage_1: there is no 'representation'"),
        ("output_layer=-1", "output_layer", "three.yaml:9: 'model.vision_encoder.output_layer' is no override"),
        ("output_layer=-1", "output_layer=-1\n    - run.seed=3", "three.yaml:10: run.seed=3: a sweep gives every run"),
        ("last_layer:", "last/layer:", "three.yaml:8: variants.last/layer: 'last/layer' cannot be a name"),
        (
            "captions/exact",
            "caption/exact",
            "three.yaml:11: compare.0: no variant has an evaluation 'caption'; did you",
        ),
        ("captions/exact", "exact", "three.yaml:11: compare.0: 'exact' names no metric"),
        ("[0, 1, 2]", "[0, 1, 0]", "three.yaml:10: seeds.2: seed 0 stands twice"),
        ("[0, 1, 2]", "[]", "three.yaml:10: seeds: a sweep"),
        ("config: blip2_tiny_opt", "config: blip2_tiny_op", "there is no config 'blip2_tiny_op'; did you mean"),
    ],
)
def test_mistakes_are_found_at_their_line_before_anything_runs(
    file: Path, found: Discovered, old: str, new: str, said: str
) -> None:
    assert old in SWEEP
    file.write_text(SWEEP.replace(old, new, 1))
    with pytest.raises(UserError) as caught:
        load_sweep(file, [f"run.directory={file.parent}"], found)
    assert said in str(caught.value)
    assert [path.name for path in file.parent.iterdir()] == ["three.yaml"]


def test_a_mistake_of_all_variants_is_said_once(file: Path, found: Discovered) -> None:
    with pytest.raises(ConfigError) as caught:
        load_sweep(file, ["stages.generation.stepz=4"], found)
    assert str(caught.value).startswith("command line: stages.generation.stepz: a stage has no option 'stepz'")
    assert len(caught.value.mistakes) == 1
    with pytest.raises(ConfigError, match=r"^command line: stages\.generation\.steps: "):
        load_sweep(file, ["stages.generation.steps=few"], found)


def finish(run: Planned, **results: float) -> None:
    """Write what a finished run leaves, as far as a sweep looks at it."""
    run.directory.write_start(run.recipe, {})
    last, stage = list(run.recipe.stages.items())[-1]
    (run.directory.checkpoints(last) / f"step-{stage.steps:08d}").mkdir(parents=True)
    written = {}
    for name, one in run.recipe.stages.items():
        for evaluation in (key for key, asked in run.recipe.evaluate.items() if name in asked.stages):
            measured = {"chance": 0.1, "n": 8, "protocol": "toy", "step": one.steps}
            written |= {f"{name}/{evaluation}/{key}": measured | {"value": value} for key, value in results.items()}
    run.directory.evaluation.write_text(json.dumps(written))


def test_a_run_is_finished_when_it_is_trained_and_evaluated(file: Path, found: Discovered) -> None:
    run = load_sweep(file, [f"run.directory={file.parent}"], found).runs[0]
    finish(run, exact=0.5)
    assert run.is_finished
    results = json.loads(run.directory.evaluation.read_text())
    run.directory.evaluation.write_text(json.dumps(results | {"generation/captions/exact": {"value": 1, "step": 1}}))
    assert not run.is_finished
    run.directory.evaluation.write_text(json.dumps(results))
    last = run.directory.checkpoints("generation") / "step-00000002"
    last.rename(last.with_name("step-00000001"))
    assert not run.is_finished


Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def mmbridge(capsys: pytest.CaptureFixture[str]) -> Call:
    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            cli.main([str(one) for one in arguments])
        assert isinstance(left.value.code, int)
        return left.value.code, *capsys.readouterr()

    return call


def test_means_and_paired_differences(file: Path, found: Discovered, mmbridge: Call) -> None:
    where = f"run.directory={file.parent}"
    values = {"full": [0.5, 0.7, 0.9], "no_stage_1": [0.41, 0.6, 0.79], "last_layer": [0.4, 0.8, 0.7]}
    for run in load_sweep(file, [where], found).runs:
        finish(run, exact=values[run.variant][run.seed], itm_accuracy=0.75)
    code, out, err = mmbridge("sweep", file, where, "--json")
    assert code == 0 and "9 of 9 runs are finished" in err
    said = json.loads(out)
    exact = said["results"]["generation/captions/exact"]
    assert list(said["results"]) == ["generation/captions/exact", "representation/retrieval/itm_accuracy"]
    half = 4.302652729749462 * 0.2 / math.sqrt(3)
    assert exact["full"]["value"] == pytest.approx(0.7) and exact["full"]["difference"] is None
    assert exact["full"]["interval"] == pytest.approx([0.7 - half, 0.7 + half])
    half = 4.302652729749462 * 0.01 / math.sqrt(3)
    paired = exact["no_stage_1"]["difference"]
    assert paired["value"] == pytest.approx(-0.1) and paired["interval"] == pytest.approx([-0.1 - half, -0.1 + half])
    assert paired["differs"] is True and paired["n"] == 3
    assert exact["last_layer"]["difference"]["differs"] is False
    assert "no_stage_1" not in said["results"]["representation/retrieval/itm_accuracy"]
    assert said["runs"]["full-seed2"]["command"].startswith("mmbridge run ")
    table = (file.parent / "three" / "sweep.md").read_text()
    assert "|  | no_stage_1 | 0.600 | 0.128 to 1.072 | -0.100 | -0.125 to -0.075 | differs | 3 | 0.100 |" in table
    assert json.loads((file.parent / "three" / "sweep.json").read_text()) == said


def test_what_is_missing_or_measured_otherwise_is_said(file: Path, found: Discovered) -> None:
    sweep = load_sweep(file, [f"run.directory={file.parent}"], found)
    full0, without0, _, full1, without1, *_, without2, _ = sweep.runs
    for run, value in ((full0, 0.5), (without0, 0.4), (without1, 0.3), (without2, math.nan)):
        finish(run, exact=value)
    results = json.loads(without1.directory.evaluation.read_text())
    results["generation/captions/exact"]["n"] = 16
    without1.directory.evaluation.write_text(json.dumps(results))
    compared = Comparison.of(sweep, {full1.name: "killed by SIGKILL"})
    full, without, *others = compared.rows
    assert others == [] and full.result == "generation/captions/exact"
    assert (full.mean.n, full.mean.interval) == (1, None)
    assert without.mean.n == 2 and without.difference is not None and without.difference.n == 1 and not without.differs
    assert without.protocols == ("toy; n = 8", "toy; n = 16")
    assert compared.missing[full1.name] == "killed by SIGKILL" and len(compared.missing) == 5


def test_a_folder_that_is_a_run_or_began_otherwise_is_refused(file: Path, found: Discovered, mmbridge: Call) -> None:
    where = f"run.directory={file.parent}"
    run = load_sweep(file, [where], found).runs[0]
    run.directory.write_start(run.recipe, {})
    code, _, err = mmbridge("sweep", file, where, "stages.generation.optimizer.lr=1")
    assert code == 2 and "began with stages.generation.optimizer.lr" in err
    (file.parent / "three" / "config.resolved.yaml").touch()
    code, _, err = mmbridge("sweep", file, where)
    assert code == 2 and "is a run itself" in err


def test_other_commands_know_a_sweep(mmbridge: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "ablations/blip2_tiny_claims" in mmbridge("ls")[1]
    assert mmbridge("cp", "ablations/blip2_tiny_claims", "mine.yaml")[0] == 0
    code, out, _ = mmbridge("validate", "mine.yaml", "blip2_tiny")
    assert code == 0 and "mine.yaml: valid (sweep: full, no_stage_1, no_itg, last_layer)" in out


SMALL = """\
config: blip2_tiny_opt
overrides:
  - ~evaluate.retrieval
  - ~evaluate.answers
  - ~evaluate.captions_of_unseen_pairs
  - evaluate.captions.data.size=4
  - "run={threads: 1, workers: 0, log_every: 1, device: cpu}"
  - data.captions.size=64
  - data.questions.size=64
  - stages.generation.steps=3
  - stages.generation.batch_size=4
variants:
  full: [~stages.representation]
  broken: [~stages.representation, model.vision_encoder.output_layer=-9]
seeds: [0, 1]
"""


@pytest.mark.slow
def test_a_sweep_is_interrupted_fails_and_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "small.yaml"
    file.write_text(SMALL)
    command = [sys.executable, "-m", "mmbridge", "sweep", str(file), f"run.directory={tmp_path}"]

    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        output = tmp_path / "small" / "full-seed0.txt"
        while not (output.exists() and "generation 1/3" in output.read_text()):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert "the same command goes on" in process.stderr.read()
    assert process.returncode == 130
    assert not (tmp_path / "small" / "full-seed1").exists()

    done = subprocess.run([*command, "--json", "--jobs", "2"], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    said = json.loads(done.stdout)
    missing = {name: run["missing"] for name, run in said["runs"].items() if run["missing"]}
    assert missing.keys() == {"broken-seed0", "broken-seed1"}, missing
    assert all("exit code 2" in why and "-9" in why for why in missing.values())
    assert said["results"]["generation/captions/attributes"]["full"]["n"] == 2
    seeds = [(tmp_path / "small" / f"full-seed{seed}" / "metrics.jsonl").read_text() for seed in (0, 1)]
    assert [json.loads(line)["step"] for line in seeds[0].splitlines()] == [1, 2, 3]
    assert json.loads(seeds[0].splitlines()[0])["loss"] != json.loads(seeds[1].splitlines()[0])["loss"]
