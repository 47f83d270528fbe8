"""The protocol of VQA, with a model whose answers are written down."""

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
    assert [example.correct for example in evaluated.examples] == [score >= 0.5 for score in expected]


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
