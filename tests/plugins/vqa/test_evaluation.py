"""The protocol of VQA, with a model whose answers are written down."""

import json
import sys
from dataclasses import replace

import pytest
from mmbridge_registry import Record, UserError
from mmbridge_registry.testing.evaluation import check_evaluation
from mmbridge_vqa import VqaAccuracyOptions, build_vqa_accuracy

ASKED = [
    ("is it a dog?", ["yes"] * 10, "Yes.", "yes/no"),
    ("how many?", ["two"] * 3 + ["2"] * 2 + ["3"] * 5, "2", "number"),
    ("what is it?", ["dog"] * 2 + ["the dog"] * 2 + ["cat"] * 6, "dog", "other"),
]


class Scripted:
    """A model that answers what stands in a list."""

    def answer(self, images, questions, prompt, generation):
        self.asked = (prompt, generation)
        said = {question: answer for question, _, answer, _ in ASKED}
        return [said[question] for question in questions]


def records():
    return [
        Record(b"x", question=question, answers=tuple(answers), name=question, facts={"answer_type": kind})
        for question, answers, _, kind in ASKED
    ]


@pytest.mark.parametrize(
    ("rules", "expected"), [("official", [0, 1, 1]), ("lavis", [1, 0.6, 0.6]), ("exact", [1, 1, 1])]
)
def test_rules(rules, expected):
    evaluated = build_vqa_accuracy(VqaAccuracyOptions(rules=rules)).evaluate(Scripted(), records())
    metrics = evaluated.metrics
    assert metrics["accuracy"].value == pytest.approx(sum(expected) / 3)
    by_kind = [metrics[f"accuracy_{kind}"].value for kind in ("yes_no", "number", "other")]
    assert by_kind == pytest.approx(expected)
    assert [line["score"] for line in evaluated.predictions] == pytest.approx(expected)
    correct = {example.question: example.correct for example in evaluated.examples}
    assert [correct[asked[0]] for asked in ASKED] == [score >= 0.5 for score in expected]


def test_predictions_are_a_vqa_result_file_with_truth_and_score():
    asked = [replace(record, facts={"question_id": 7 + n}) for n, record in enumerate(records())]
    found = build_vqa_accuracy(VqaAccuracyOptions()).evaluate(Scripted(), asked)
    lines = json.loads(json.dumps(found.predictions))
    assert [(line["question_id"], line["question"], line["answer"], line["truth"]) for line in lines] == [
        (7 + n, question, answer, truth) for n, (question, truth, answer, _) in enumerate(ASKED)
    ]
    by_name = build_vqa_accuracy(VqaAccuracyOptions()).evaluate(Scripted(), records())
    assert [line["question_id"] for line in by_name.predictions] == [record.name for record in records()]


def test_the_best_and_the_worst_are_shown_with_their_scores():
    many = [
        Record(b"x", question="is it a dog?", answers=("yes",) * right + ("no",) * (10 - right), name=str(right))
        for right in range(10)
    ]
    found = build_vqa_accuracy(VqaAccuracyOptions(rules="lavis")).evaluate(Scripted(), many)
    examples = [(example.picked, round(example.score, 6)) for example in found.examples]
    assert examples[:4] == [("best", 1.0)] * 4 and examples[-4:-2] == [("worst", 0.0), ("worst", 0.3)]
    assert [example.truth for example in found.examples if example.picked == "worst"] == ["no"] * 4


def test_chance_is_the_most_frequent_answer():
    evaluated = build_vqa_accuracy(VqaAccuracyOptions()).evaluate(Scripted(), records())
    assert evaluated.metrics["accuracy"].chance == pytest.approx(1 / 3)  # "yes"


def test_the_published_prompt_and_decoding_are_the_default():
    model = Scripted()
    evaluated = build_vqa_accuracy(VqaAccuracyOptions()).evaluate(model, records())
    prompt, generation = model.asked
    assert prompt == "Question: {} Short answer:"
    assert (generation.beams, generation.max_new_tokens, generation.length_penalty) == (5, 10, -1.0)
    assert "5 beams, length penalty -1.0, 1 to 10 new tokens" in evaluated.protocol


@pytest.mark.parametrize(
    ("record", "rules", "message"),
    [
        (Record(b"x", texts=("a dog",), name="7"), "official", "record '7' has no question"),
        (Record(b"x", question="q", name="7"), "exact", "has 0 answers"),
        (Record(b"x", question="q", answers=("a",), name="7"), "official", "has 1 answers; these rules need 2"),
    ],
)
def test_what_cannot_be_scored_is_refused(record, rules, message):
    with pytest.raises(UserError, match=message):
        build_vqa_accuracy(VqaAccuracyOptions(rules=rules)).evaluate(Scripted(), [record])


def test_it_keeps_the_contract():
    check_evaluation(build_vqa_accuracy(VqaAccuracyOptions()), Scripted(), records())


@pytest.fixture
def spacy(tmp_path, monkeypatch):
    """spaCy with a pipeline under the model's name that knows three words."""
    spacy = pytest.importorskip("spacy", reason="answers are lemmatised by spaCy: mmbridge[lemmatise]")
    read = spacy.blank("en")
    words = {"dogs": ("NOUN", "dog"), "running": ("VERB", "run"), "faster": ("ADV", "fast")}
    rules = read.add_pipe("attribute_ruler")
    for word, (pos, lemma) in words.items():
        rules.add([[{"LOWER": word}]], {"POS": pos, "LEMMA": lemma})
    read.to_disk(tmp_path / "en_core_web_sm")
    monkeypatch.chdir(tmp_path)
    return spacy


@pytest.mark.parametrize(
    ("said", "scored"), [("running dogs", "run dog"), ("dogs, faster", "dog , faster"), ("t-shirt's", "t - shirt 's")]
)
def test_nouns_and_verbs_of_answers_become_lemmas_joined_by_blanks(said, scored, spacy):
    class Says:
        def answer(self, images, questions, prompt, generation):
            return [said] * len(questions)

    people = [Record(b"x", question="q", answers=(said,) * 5 + (scored,) * 5)] * 2
    found = build_vqa_accuracy(VqaAccuracyOptions(rules="lavis", lemmatise=True)).evaluate(Says(), people)
    assert [line["answer"] for line in found.predictions] == [scored] * 2
    assert "lemmatised by spaCy's en_core_web_sm" in found.protocol


def test_a_missing_model_is_said_before_anything_is_asked(spacy, tmp_path):
    (tmp_path / "en_core_web_sm").rename(tmp_path / "away")
    with pytest.raises(UserError, match="python -m spacy download en_core_web_sm"):
        build_vqa_accuracy(VqaAccuracyOptions(lemmatise=True))


def test_without_spacy_it_is_said_before_anything_is_asked(monkeypatch):
    monkeypatch.setitem(sys.modules, "spacy", None)
    monkeypatch.delitem(sys.modules, "mmbridge_vqa.lemmas", raising=False)
    with pytest.raises(UserError, match=r"pip install mmbridge\[lemmatise\]"):
        build_vqa_accuracy(VqaAccuracyOptions(lemmatise=True))
