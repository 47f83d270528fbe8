"""From a run directory to a model, and from a model to its results: on toy parts, with real files."""

import json
from pathlib import Path

import pytest
import torch
from mmbridge_registry import (
    BRIDGE,
    DATASET,
    ENCODER_DECODER,
    EVALUATION,
    GENERATES,
    LANGUAGE_MODEL,
    TEXT_BRIDGE,
    VISION_ENCODER,
    Dataset,
    Evaluated,
    Evaluation,
    Example,
    Metric,
    Options,
    Record,
    UserError,
)
from mmbridge_registry.discovery import discover
from PIL import Image
from rich.console import Console
from toys.answering import Eye, Voice, Words

from mmbridge import checkpoint, due, evaluate, loading, results
from mmbridge.assemble import assemble
from mmbridge.cli import main
from mmbridge.config import as_yaml, load_recipe
from mmbridge.engine import alone
from mmbridge.run_directory import RunDirectory

CONFIG = """\
model: {vision_encoder: {name: eye}, bridge: {name: words}, language_model: {name: voice}}
data: {pictures: {name: pictures}}
stages:
  first: {train: [bridge], objectives: {itc: {}}, steps: 2, batch_size: 2}
  second: {train: [bridge, projection, vision_encoder], objectives: {prefix_lm: {}}, steps: 4, batch_size: 2}
evaluate:
  whole: {name: how_many, stages: [first, second], data: {name: pictures}}
  often: {name: how_many, stages: [second], every: 2, data: {name: pictures}}
"""


class Nothing(Options):
    """No options."""


class Pictures(Dataset):
    """Three pictures, one of them large."""

    def __len__(self):
        return 3

    def read(self, index):
        side = 1000 if index == 2 else 8
        return Record(Image.new("RGB", (side, side // 2), (index * 90, 0, 0)), (f"picture {index}",))


class HowMany(Evaluation):
    """Counts, draws random numbers, and shows what it saw."""

    def evaluate(self, model, dataset):
        torch.rand(3)
        records = list(dataset)
        written = model.caption([record.image for record in records])
        examples = [Example(r.image, r.texts[0], text, correct=False) for r, text in zip(records, written, strict=True)]
        return Evaluated({"count": Metric(len(records), len(records), chance=0.5)}, "counted", examples)


@pytest.fixture
def found(monkeypatch):
    found = discover()
    offer = found.catalog.offer
    offer(VISION_ENCODER, "eye", Nothing, lambda options: Eye())
    offer(BRIDGE, "words", Nothing, lambda options, encoder_width: Words(), provides=[TEXT_BRIDGE])
    offer(LANGUAGE_MODEL, "voice", Nothing, lambda options: voice(), provides=[ENCODER_DECODER, GENERATES])
    offer(DATASET, "pictures", Nothing, lambda options: Pictures())
    offer(EVALUATION, "how_many", Nothing, lambda options: HowMany())
    monkeypatch.setattr(loading, "discover", lambda: found)
    return found


def voice():
    model = Voice()
    model.register_parameter("one", torch.nn.Parameter(torch.ones(1)))
    return model


@pytest.fixture
def recipe(tmp_path, found):
    (tmp_path / "toy.yaml").write_text(CONFIG)
    return load_recipe(tmp_path / "toy.yaml", [f"run.directory={tmp_path}", "run.device=cpu"], found)


@pytest.fixture
def directory(recipe):
    directory = RunDirectory.of(recipe)
    directory.path.mkdir()
    directory.resolved.write_text(as_yaml(recipe.resolved))
    return directory


def trained(recipe, found):
    """A model whose bridge and projection some stage has trained."""
    model = assemble(recipe, found.catalog)
    model.learned.update(name for name in model.tensors() if name.startswith(("bridge.", "projection.")))
    return model


def evaluated(model, recipe, stage, directory, step):
    """Make what is due, as a run on one rank does."""
    chosen = due.due(recipe, stage, directory, step)
    return evaluate.evaluate_stage(model, stage, step, chosen, directory, alone(recipe.run))


def save(directory, recipe, found, stage, step, shift):
    """A checkpoint of a model whose every trained tensor is moved by `shift`; gives the model."""
    model = assemble(recipe, found.catalog)
    for part in recipe.stages[stage].train:
        for parameter in getattr(model, part).parameters():
            parameter.data += shift
            parameter.requires_grad_(True)
    trained = {name: tensor for name, tensor in model.named_parameters() if tensor.requires_grad}
    model.learned.update(trained)
    optimizer = torch.optim.AdamW(trained.values())
    snapshot = checkpoint.Snapshot.of(model.kept(), {"stage": stage, "step": step}, trained, optimizer)
    checkpoint.write(directory.checkpoints(stage), snapshot, keep=2)
    return model


def test_load_takes_the_newest_checkpoint_of_the_last_stage_that_has_one(directory, recipe, found):
    save(directory, recipe, found, "first", 1, 0.1)
    expected = save(directory, recipe, found, "first", 2, 0.2)
    assert_same(loading.load(directory.path), expected)
    expected = save(directory, recipe, found, "second", 4, 0.4)
    assert_same(loading.load(str(directory.path)), expected)
    assert loading.load(directory.path).writes and not loading.load(directory.path, "first").writes


def assert_same(loaded, expected):
    """Every tensor, those of a trained tower as well."""
    state = loaded.bridged.state_dict()
    for name, tensor in expected.state_dict().items():
        assert torch.equal(state[name], tensor), name
    assert not loaded.bridged.training
    assert not any(parameter.requires_grad for parameter in loaded.bridged.parameters())


def test_what_cannot_be_loaded_is_named(directory, recipe, found, tmp_path):
    for run, stage, said in (
        (tmp_path / "nowhere", None, "not a run directory"),
        (directory.path, None, "no complete checkpoint yet"),
        (directory.path, "third", "no stage 'third'"),
    ):
        with pytest.raises(UserError, match=said):
            loading.load(run, stage)


def test_results_and_examples_are_written(directory, recipe, found):
    model = trained(recipe, found)
    made = evaluated(model, recipe, "second", directory, 4)
    assert list(made) == ["second/whole/count", "second/often/count"]
    expected = {"value": 3, "n": 3, "chance": 0.5, "ceiling": None, "interval": None, "less_is_better": False}
    expected |= {"protocol": "counted", "step": 4}
    assert json.loads(directory.evaluation.read_text())["second/whole/count"] == expected
    folder = directory.samples("second", "whole")
    listed = json.loads((folder / "examples.json").read_text())
    assert [item["truth"] for item in listed] == ["picture 0", "picture 1", "picture 2"]
    sizes = [Image.open(folder / item["image"]).size for item in listed]
    assert sizes == [(8, 4), (8, 4), (384, 192)]


def test_where_queries_look_is_written_once_for_a_stage(directory, recipe, found, monkeypatch):
    asked = []
    monkeypatch.setattr(Words, "attention", lambda self, features: asked.append(features) or looks(features))
    evaluated(trained(recipe, found), recipe, "second", directory, step=4)
    folder = directory.samples("second", "attention")
    told = json.loads((folder / "attention.json").read_text())
    assert [Image.open(folder / one["image"]).getpixel((0, 0)) for one in told] == [(0, 0, 0), (90, 0, 0), (180, 0, 0)]
    assert len(asked) == 1 and len(asked[0]) == 3


def looks(features):
    return torch.full((1, len(features), Words.num_queries, features.shape[1]), 1 / features.shape[1])


def test_before_the_projection_is_trained_the_bridge_writes(directory, recipe, found):
    model = trained(recipe, found)
    way_in = {name for name in model.learned if name.startswith("projection.")}
    model.learned -= way_in
    for stage, whose in (("first", "in 30"), ("second", "")):
        evaluated(model, recipe, stage, directory, recipe.stages[stage].steps)
        listed = json.loads((directory.samples(stage, "whole") / "examples.json").read_text())
        assert all(item["output"].endswith("in 30") == bool(whose) for item in listed)
        model.learned |= way_in


@pytest.mark.parametrize(
    ("stage", "step", "names"),
    [
        ("first", 1, []),
        ("first", 2, ["whole"]),
        ("second", 1, []),
        ("second", 2, ["often"]),
        ("second", 4, ["whole", "often"]),
    ],
)
def test_what_is_due(directory, recipe, found, stage, step, names):
    assert list(due.due(recipe, stage, directory, step)) == names


def test_what_is_made_is_not_due_again(directory, recipe, found):
    model = trained(recipe, found)
    evaluated(model, recipe, "second", directory, 2)
    assert not due.due(recipe, "second", directory, 2)
    assert list(due.due(recipe, "second", directory, 4)) == ["whole", "often"]


def test_stages_are_merged_into_one_file(directory, recipe, found):
    model = trained(recipe, found)
    for stage in recipe.stages:
        evaluated(model, recipe, stage, directory, recipe.stages[stage].steps)
    assert len(results.read_results(directory.evaluation)) == 3
    assert not list(directory.path.glob("*.tmp"))


def test_training_is_not_disturbed(directory, recipe, found):
    model = trained(recipe, found)
    model.bridge.requires_grad_(True)
    model.train()
    torch.manual_seed(7)
    expected = torch.rand(2)
    torch.manual_seed(7)
    evaluated(model, recipe, "first", directory, 2)
    assert torch.equal(torch.rand(2), expected)
    assert model.bridge.training and not model.vision_encoder.training


def test_a_whole_run_is_evaluated_again(directory, recipe, found):
    for stage, step in (("first", 2), ("second", 3)):
        save(directory, recipe, found, stage, step, 0.1)
    made = evaluate.evaluate_run(directory.path, found)
    assert {key: result["step"] for key, result in made.items()} == {
        "first/whole/count": 2,
        "second/whole/count": 3,
        "second/often/count": 3,
    }
    assert list(evaluate.evaluate_run(directory.path, found, "first")) == ["first/whole/count"]


def test_a_run_without_checkpoints_has_nothing_to_evaluate(directory, found):
    with pytest.raises(UserError, match="nothing to evaluate"):
        evaluate.evaluate_run(directory.path, found)


def test_the_table_shows_value_chance_ceiling_and_n(tmp_path):
    stand = {
        "first/whole/count": {"value": 0.91234, "chance": 0.25, "ceiling": None, "n": 256},
        "first/whole/other[/x]": {"value": 1.2, "chance": None, "ceiling": 1.5, "n": 3},
    }
    (tmp_path / "evaluation.json").write_text(json.dumps(stand))
    with Console(width=100, record=True, file=Path("/dev/null").open("w")) as console:
        results.print_table(tmp_path, console)
    rows = [line.split() for line in console.export_text().splitlines()]
    assert rows.count(["whole", "after", "first"]) == 1
    assert ["count", "0.912", "0.250", "–", "256"] in rows
    assert ["other[/x]", "1.200", "–", "1.500", "3"] in rows


def test_a_broken_evaluation_json_is_named(tmp_path):
    (tmp_path / "evaluation.json").write_text("{")
    with pytest.raises(UserError, match=r"evaluation.json: not readable"):
        results.read_results(tmp_path / "evaluation.json")


@pytest.fixture
def command(directory, recipe, found, monkeypatch, capsys):
    """Run a command on a toy run that has both stages; gives its exit status, output and errors."""
    for stage in recipe.stages:
        save(directory, recipe, found, stage, recipe.stages[stage].steps, 0.1)
    monkeypatch.setattr("mmbridge.cli.results.discover", lambda: found)

    def run(name, *words):
        with pytest.raises(SystemExit) as done:
            main([name, str(directory.path), *map(str, words)])
        captured = capsys.readouterr()
        return done.value.code, captured.out, captured.err

    return run


def test_evaluate_prints_json_and_writes_the_report(command, directory):
    status, out, _ = command("evaluate", "--json")
    assert status == 0 and list(json.loads(out)) == ["first/whole/count", "second/whole/count", "second/often/count"]
    assert directory.report.exists()
    directory.report.unlink()
    assert command("report")[1].strip() == str(directory.report)
    assert "second/whole" not in directory.report.read_text() and "whole" in directory.report.read_text()
