"""Cards in configs and on the command line: what is laid over them, what that changes, what is printed beside it."""

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
    AnnotationFile,
    Dataset,
    Evaluated,
    Evaluation,
    Generation,
    Metric,
    Options,
    Record,
    UserError,
)
from mmbridge_registry.discovery import discover
from PIL import Image
from rich.console import Console
from toys.answering import Eye, Voice, Words

from mmbridge import checkpoint, loading
from mmbridge.assemble import assemble
from mmbridge.cli import main
from mmbridge.config import ConfigError, as_yaml, load_card, load_recipe
from mmbridge.results import table_of
from mmbridge.run_directory import RunDirectory

CONFIG = """\
model: {vision_encoder: {name: eye}, bridge: {name: words}, language_model: {name: voice, architecture: bass}}
data: {shelf: {name: shelf, list: shelf.json, folder: here}}
stages:
  only: {train: [bridge, projection], objectives: {prefix_lm: {}}, steps: 2, batch_size: 2}
"""
CARD = """\
card: 3
task: counting
source: a paper, table 1
pixels: 2
evaluation: {name: told, prompt: how many, generation: {beams: 5}}
data: {name: shelf, list: somewhere/shelf.json, folder: there, split: test}
expected:
  toy.yaml: {count: 3.5, words: 2}
tolerance: 0.5
"""


class Told(Options):
    """Counts."""

    prompt: str = ""
    """What is asked."""
    generation: Generation = Generation()
    """How it is decoded."""


class Shelf(Options):
    """A shelf of pictures."""

    list: AnnotationFile
    """The list."""
    folder: Path
    """The pictures."""
    split: str = "train"
    """Which of them."""


class Sung(Options):
    """A voice."""

    architecture: str | None = None
    """Its size."""
    weights: str = "sung"
    """Where it comes from."""


class Plain(Options):
    """No options."""


class Pictures(Dataset):
    """Three pictures."""

    def __len__(self):
        return 3

    def read(self, index):
        return Record(Image.new("RGB", (8, 8), (index * 90, 0, 0)), ("a picture",))


class Counting(Evaluation):
    """Counts what it is told."""

    def __init__(self, options):
        self.options = options

    def evaluate(self, model, dataset):
        images = [record.image for record in dataset]
        said = model.caption(images, self.options.prompt, generation=self.options.generation)
        return Evaluated({"count": Metric(len(said), 3), "words": Metric(2, 3)}, f"asked '{self.options.prompt}'")


def voice(options):
    model = Voice()
    model.register_parameter("one", torch.nn.Parameter(torch.ones(1)))
    return model


@pytest.fixture
def found(monkeypatch):
    found = discover()
    offer = found.catalog.offer
    offer(VISION_ENCODER, "eye", Plain, lambda options: Eye())
    offer(BRIDGE, "words", Plain, lambda options, encoder_width: Words(), provides=[TEXT_BRIDGE])
    offer(LANGUAGE_MODEL, "voice", Sung, voice, provides=[ENCODER_DECODER, GENERATES])
    offer(DATASET, "shelf", Shelf, lambda options: Pictures())
    offer(DATASET, "other", Plain, lambda options: Pictures())
    offer(EVALUATION, "told", Told, Counting)
    monkeypatch.setattr(loading, "discover", lambda: found)
    for where in ("results", "configs"):
        monkeypatch.setattr(f"mmbridge.cli.{where}.discover", lambda: found)
    return found


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("toy.yaml").write_text(CONFIG)
    Path("my_card.yaml").write_text(CARD)


def laid(found, over="", *overrides, config="toy.yaml"):
    """The recipe with one evaluation, which lays `over` onto the card."""
    entry = f"evaluate.mine={{card: my_card.yaml, stages: [only]{over}}}"
    return load_recipe(config, ["run.directory=.", "run.device=cpu", entry, *overrides], found)


def test_an_entry_takes_all_that_it_does_not_say_itself_from_its_card(found):
    one = laid(found, ", generation: {max_new_tokens: 7}, data: {folder: /mnt}").evaluate["mine"]
    options, data = one.evaluation.options, one.dataset.options
    assert (options.prompt, options.generation.beams, options.generation.max_new_tokens) == ("how many", 5, 7)
    assert (data.list, data.folder, data.split) == (Path("somewhere/shelf.json"), Path("/mnt"), "test")
    assert one.dataset.where_of("list") == "my_card.yaml:6: evaluate.mine.data.list"
    assert one.dataset.where_of("folder") == "command line: evaluate.mine.data.folder"


@pytest.mark.parametrize(
    ("over", "deviations"),
    [
        ("", []),
        (", data: {list: /mnt/shelf.json, folder: /mnt}, shuffled: true, every: 1", []),
        (", prompt: how many, generation: {beams: 5}", []),
        (", prompt: who", ['prompt "who" instead of "how many"']),
        (", generation: {beams: 1, sample: true}", ["generation.beams 1 instead of 5",
                                                    "generation.sample true instead of false"]),
        (", data: {split: val}", ['data.split "val" instead of "test"']),
        (", data: {list: /mnt/half.json}", ['data.list "half.json" instead of "shelf.json"']),
        (", data: {name: other}", ['data.name "other" instead of "shelf"']),
        (", name: captioning, data: {split: val}", ['name "captioning" instead of "told"',
                                                    'data.split "val" instead of "test"']),
    ],
)  # fmt: skip
def test_what_is_another_than_the_card_says_is_a_deviation(found, over, deviations):
    by = laid(found, over).evaluate["mine"].card
    assert by.model == "toy" and list(by.deviations) == deviations


def test_an_override_of_the_command_line_comes_last(found):
    by = laid(found, ", prompt: who", "evaluate.mine.prompt=how many", "evaluate.mine.data.split=val")
    assert by.evaluate["mine"].card.deviations == ('data.split "val" instead of "test"',)


@pytest.mark.parametrize(
    ("change", "model"),
    [
        ("data.shelf.folder=/mnt", "toy"),
        ("model.language_model.weights=tuned", "toy"),
        ("model.language_model.weights=random", None),
        ("model.language_model.architecture=alto", None),
        ("model.bridge={name: mlp}", None),
    ],
)
def test_a_published_model_is_recognised_by_its_parts(found, change, model):
    by = laid(found, "", change).evaluate["mine"].card
    assert by.model == model
    assert by.expected == ({"count": 3.5, "words": 2} if model else {})


def test_parts_that_the_values_do_not_depend_on_may_be_others(found):
    Path("my_card.yaml").write_text(CARD + "parts: [vision_encoder, bridge]\n")
    assert laid(found, "", "model.language_model.architecture=alto").evaluate["mine"].card.model == "toy"


def test_pixels_and_numbers_that_are_not_there_are_deviations(found):
    by = laid(found).evaluate["mine"].card
    assert by.beside(["count", "words"], 2)["count"] == {
        "card": {"name": "my_card", "version": 3, "model": "toy", "deviations": []},
        "expected": {"value": 3.5, "tolerance": 0.5, "source": "a paper, table 1", "model": "toy"},
    }
    other = by.beside(["count", "blue"], 4)
    assert other["blue"] == {"card": other["count"]["card"]}
    assert other["blue"]["card"]["deviations"] == ["pixels 4 instead of 2", "no words"]


def test_a_run_keeps_the_card_that_it_began_with(found):
    before = laid(found, ", prompt: who")
    Path("resolved.yaml").write_text(as_yaml(before.resolved))
    Path("my_card.yaml").unlink()
    after = load_recipe("resolved.yaml", [], found)
    assert after.resolved == before.resolved
    assert after.evaluate["mine"].card == before.evaluate["mine"].card
    Path("toy.yaml").unlink()
    assert load_recipe("resolved.yaml", [], found).evaluate["mine"].card.model is None


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("tolerance", "tolerence", "my_card.yaml:9: tolerence: a card has no option 'tolerence'; did you mean"),
        ("card: 3", "card: three", "my_card.yaml:1: card: a card: "),
        ("name: told", "name: tolt", "my_card.yaml:5: evaluation.name: there is no evaluation 'tolt'"),
        ("beams", "beems", "my_card.yaml:5: evaluation.generation.beems: evaluation 'told'"),
        ("folder", "foldr", "my_card.yaml:6: data.foldr: dataset 'shelf'"),
        ("toy.yaml: {", "blip2_opt2.8b: {", "my_card.yaml:8: expected.blip2_opt2.8b: there is no config"),
        ("count: 3.5", "count: many", "my_card.yaml:8: expected.toy.yaml.count: a card: "),
    ],
)  # fmt: skip
def test_a_mistake_in_a_card_is_told_with_its_line(found, old, new, said):
    Path("my_card.yaml").write_text(CARD.replace(old, new, 1))
    for read in (lambda: load_card("my_card.yaml", [], found), lambda: laid(found)):
        with pytest.raises(ConfigError) as caught:
            read()
        assert any(line.startswith(said) for line in str(caught.value).splitlines()), caught.value


def test_a_mistake_in_an_entry_is_told_with_its_own_line(found):
    Path("toy.yaml").write_text(CONFIG + "evaluate:\n  mine:\n    {card: my_card.yaml, stages: [only], promt: x}\n")
    with pytest.raises(ConfigError, match=r"^toy.yaml:7: evaluate.mine.promt: .* did you mean 'prompt'\?$"):
        load_recipe("toy.yaml", [], found)
    Path("toy.yaml").write_text(CONFIG + "evaluate:\n  mine: {card: coco_captoin, stages: [only]}\n")
    with pytest.raises(UserError, match=r"^toy.yaml:6: evaluate.mine.card: there is no card .*mean 'coco_caption'\?"):
        load_recipe("toy.yaml", [], found)


@pytest.fixture
def command(found, capsys):
    """Run a command on a trained toy run; gives its exit status, output and errors."""
    recipe = load_recipe("toy.yaml", ["run.directory=runs", "run.device=cpu"], found)
    directory = RunDirectory.of(recipe)
    directory.path.mkdir(parents=True)
    directory.resolved.write_text(as_yaml(recipe.resolved))
    model = assemble(recipe, found.catalog)
    trained = {name: one for name, one in model.named_parameters() if name.startswith(("bridge.", "projection."))}
    model.learned.update(trained)
    optimizer = torch.optim.AdamW(trained.values())
    snapshot = checkpoint.Snapshot.of(model.kept(), {"stage": "only", "step": 2}, trained, optimizer)
    checkpoint.write(directory.checkpoints("only"), snapshot, keep=1)

    def run(*words, source="runs/toy"):
        with pytest.raises(SystemExit) as done:
            main(["evaluate", source, *words])
        captured = capsys.readouterr()
        return done.value.code, captured.out, captured.err

    return run


def test_ours_stands_beside_the_papers(command):
    status, out, err = command("--card", "my_card.yaml", "data.folder=/mnt")
    assert status == 0, err
    rows = [line.split() for line in out.splitlines()]
    assert ["metric", "value", "paper", "95", "%", "chance", "ceiling", "n"] in rows
    assert ["count", "3.000", "3.500", "±", "0.500", "–", "–", "3"] in rows
    assert "my_card after only: card my_card, version 3, as the card says." in " ".join(out.split())
    written = json.loads(Path("runs/toy/evaluation.json").read_text())["only/my_card/count"]
    assert written["expected"] == {"value": 3.5, "tolerance": 0.5, "source": "a paper, table 1", "model": "toy"}
    assert written["protocol"] == "asked 'how many'"


def test_deviations_are_printed_and_written(command):
    source = "runs/toy/checkpoints/only/step-00000002"
    status, out, err = command("--card", "my_card.yaml", "prompt=who", "generation.beams=1", source=source)
    assert status == 0, err
    said = 'but prompt "who" instead of "how many"; generation.beams 1 instead of 5.'
    assert said in " ".join(out.split())
    written = json.loads(Path("runs/toy/evaluation.json").read_text())["only/my_card/count"]
    assert len(written["card"]["deviations"]) == 2 and written["protocol"] == "asked 'who'"


def test_a_model_that_is_none_of_the_published_is_told(command):
    Path("toy.yaml").write_text(CONFIG.replace("bass", "alto"))
    status, out, err = command("--card", "my_card.yaml")
    assert status == 0, err
    assert "paper" not in out and "The card has no values for this model." in " ".join(out.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--card", "my_cart.yaml"], "there is no card 'my_cart.yaml'"),
        (["--card", "my_card.yaml", "promt=x"], "evaluate.my_card.promt: evaluation 'told'"),
        (["--card", "my_card.yaml", "~prompt"], "~prompt: what a card says cannot be removed."),
        (["--card", "my_card.yaml", "--evaluations", "toy.yaml"], "evaluations of a config and of a card."),
        (["prompt=x"], "--card CARD"),
    ],
)
def test_mistakes_of_the_command_line(command, words, said):
    status, out, err = command(*words)
    assert status == 2 and said in " ".join(err.split()) and not out


def test_what_is_not_verified_is_printed():
    card = {"name": "x", "version": 1, "model": None, "deviations": [], "unverified": "the [prompt]"}
    table = table_of({"a/b/c": {"value": 1, "n": 2, "card": card, "shuffled": 0.5}})
    with Console(width=200, record=True, file=Path("/dev/null").open("w")) as console:
        console.print(table)
    text = " ".join(console.export_text().split())
    assert "metric value 95 % chance shuffled ceiling n" in text
    assert "b after a: card x, version 1, as the card says. The card has no values for this model." in text
    assert text.endswith("Unverified: the [prompt].")
