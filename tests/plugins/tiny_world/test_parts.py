"""The parts: torch-free offer, records, evaluations that score the truth 1 and blindness at chance."""

import json
import subprocess
import sys

import pytest
from mmbridge_registry import DATASET, EVALUATION, Catalog
from mmbridge_tiny_world import (
    TOWERS,
    AnswersOptions,
    CaptionsOptions,
    TinyWorldOptions,
    build_answers,
    build_captions,
    build_dataset,
    offer_parts,
)
from mmbridge_tiny_world.grammar import captions
from mmbridge_tiny_world.world import COLOURS
from pydantic import ValidationError

CAPTIONED = build_dataset(TinyWorldOptions(split="test", size=40))
ASKED = build_dataset(TinyWorldOptions(split="test", size=40, ask=1))


def test_contents_are_what_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    def sums() -> list[str]:
        every = [{"split": "test"}, {"split": "test", "size": 40}, {}, {"seed": 1}, {"ask": 1.0}]
        return [build_dataset(TinyWorldOptions(**options)).contents["drawn"] for options in every]

    before = sums()
    assert before == sums() and len(set(before)) == len(before)
    monkeypatch.setattr("mmbridge_tiny_world.world.COLOURS", tuple(reversed(COLOURS)))
    # As if another version of the code drew others; held-out scenes are remembered.
    assert not set(before[2:]) & set(sums()[2:])


class Oracle:
    """A model that knows the records by heart."""

    def caption(self, images, prompt="", generation=None):
        return [CAPTIONED.read(i).texts[0].removeprefix(prompt) for i in range(len(images))]

    def answer(self, images, questions, prompt="", generation=None):
        return [ASKED.read(i).answers[0] for i in range(len(images))]


class Blind:
    """A model that always says the same."""

    def caption(self, images, prompt="", generation=None):
        return [""] * len(images)

    def answer(self, images, questions, prompt="", generation=None):
        return ["two"] * len(images)


def test_parts_are_offered_without_torch():
    code = "import sys, mmbridge_tiny_world; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_catalog_has_the_dataset_the_evaluations_and_the_towers():
    catalog = Catalog()
    offer_parts(catalog)
    assert catalog.names(DATASET) == ["tiny_world"]
    assert catalog.names(EVALUATION) == ["tiny_world_answers", "tiny_world_captions"]
    assert catalog.shipped_names() == sorted(f"tiny/{tower}" for tower in TOWERS)


def test_records_repeat_and_tell_or_ask():
    told, asked = CAPTIONED.read(3), ASKED.read(3)
    assert told.texts == tuple(captions(told.facts["scene"])[:1])
    assert told.question is None
    assert asked.question
    assert not asked.texts
    assert told.image.tobytes() == CAPTIONED.read(3).image.tobytes() == asked.image.tobytes()


def test_train_records_have_every_wording_and_a_share_asks():
    train = build_dataset(TinyWorldOptions(ask=0.25))
    records = [train.read(index) for index in range(400)]
    assert 0.18 < sum(record.question is not None for record in records) / 400 < 0.32
    assert {len(record.texts) for record in records if not record.question} == {4}


def test_more_held_out_scenes_than_there_are_is_refused():
    with pytest.raises(ValidationError, match="distinct scenes"):
        TinyWorldOptions(split="test", size=40_000)


def test_captions_are_scored():
    evaluation = build_captions(CaptionsOptions())
    best = evaluation.evaluate(Oracle(), CAPTIONED).metrics
    assert best["attributes"].value == best["exact"].value == 1
    assert 0 < best["attributes"].chance < 0.6
    assert best["exact"].chance == 0
    worst = evaluation.evaluate(Blind(), CAPTIONED)
    assert worst.metrics["exact"].value == 0
    assert worst.metrics["attributes"].value == 0
    assert not any(example.correct or example.score for example in worst.examples)


def test_answers_are_scored():
    evaluation = build_answers(AnswersOptions())
    best = evaluation.evaluate(Oracle(), ASKED).metrics
    assert {metric.value for metric in best.values()} == {1}
    blind = evaluation.evaluate(Blind(), ASKED).metrics
    assert 0 < blind["accuracy"].value <= blind["accuracy"].chance < 0.8
    assert sum(metric.n for name, metric in best.items() if name != "accuracy") == best["accuracy"].n == 40


class Half(Oracle):
    """Knows the first half of the records."""

    def caption(self, images, prompt="", generation=None):
        return super().caption(images, prompt)[:20] + [""] * 20

    def answer(self, images, questions, prompt="", generation=None):
        return super().answer(images, questions)[:20] + ["nothing"] * 20


@pytest.mark.parametrize(
    ("evaluation", "dataset", "number"),
    [
        (build_captions(CaptionsOptions()), CAPTIONED, "image_id"),
        (build_answers(AnswersOptions()), ASKED, "question_id"),
    ],
)
def test_every_prediction_is_given_and_the_best_and_the_worst_are_shown(evaluation, dataset, number):
    found = evaluation.evaluate(Half(), dataset)
    lines = json.loads(json.dumps(found.predictions))
    assert [line[number] for line in lines] == [f"test 0/{place}" for place in range(40)]
    score = "attributes" if number == "image_id" else "score"
    assert [line[score] for line in lines] == [1] * 20 + [0] * 20
    if number == "image_id":
        assert " ".join(lines[0]["caption"].split()) == lines[0]["references"][0] == CAPTIONED.read(0).texts[0]
    else:
        assert (lines[0]["answer"], lines[0]["truth"]) == (ASKED.read(0).answers[0], [ASKED.read(0).answers[0]])
    assert [(one.picked, one.score) for one in found.examples[:4]] == [("best", 1.0)] * 4
    assert [(one.picked, one.score) for one in found.examples[8:]] == [("worst", 0.0)] * 4
