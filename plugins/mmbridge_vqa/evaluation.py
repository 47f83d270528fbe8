"""The protocol: ask every question of its image, compare with what ten people answered."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from mmbridge_registry import Dataset, Evaluated, Evaluation, Example, Metric, Record, UserError, VisionLanguage
from mmbridge_registry.examples import pick

from mmbridge_vqa import VqaAccuracyOptions
from mmbridge_vqa.accuracy import accuracy, normalised

GROUPS = ("answer_type", "question_type")
"""Facts of a record by which the accuracy is also given."""
LEMMATISED = {False: "answers as written", True: "answers lemmatised by spaCy's en_core_web_sm (nouns and verbs)"}
MANY = 10
"""More groups than these are not listed one by one: VQAv2 has 65 types of questions."""


class VqaAccuracy(Evaluation):
    """VQA accuracy over all questions, and by type of answer (VQAv2, OK-VQA) or of question (GQA).

    Raises:
        UserError: answers are to be lemmatised, and spaCy or its model is not installed.
    """

    def __init__(self, options: VqaAccuracyOptions) -> None:
        self.options = options
        self.as_scored = _lemmatiser() if options.lemmatise else list

    def evaluate(self, model: VisionLanguage, dataset: Dataset) -> Evaluated:
        """Answer and score; chance is the most frequent answer to all questions.

        Raises:
            UserError: a record has no question, or no answers to compare with.
        """
        records = [self.asked(record) for record in dataset]
        answers = model.answer(
            [record.image for record in records],
            [record.question or "" for record in records],
            self.options.prompt,
            self.options.generation,
        )
        said = self.as_scored(answers)
        scores = [self.score(*pair) for pair in zip(said, records, strict=True)]
        metrics = {"accuracy": Metric.mean(scores, self.blind(records))}
        for name, rows in _groups(records):
            metrics[f"accuracy_{name}"] = Metric.mean([scores[row] for row in rows])
        return Evaluated(metrics, self.protocol(), [*shown(records, said, scores)], [*predicted(records, said, scores)])

    def asked(self, record: Record) -> Record:
        """Check that a record can be asked and scored."""
        if record.question is None:
            raise UserError(f"record '{record.name}' has no question.", do="Evaluate on questions.")
        needed = 1 if self.options.rules == "exact" else 2
        if len(record.answers) < needed:
            do = "Give the annotations that belong to the questions, or set rules: exact for one true answer each."
            what = f"record '{record.name}' has {len(record.answers)} answers; these rules need {needed}."
            raise UserError(what, do=do)
        return record

    def score(self, answer: str, record: Record) -> float:
        """Score one answer by the rules that the options name."""
        if self.options.rules == "exact":
            return float(normalised(answer) == normalised(record.answers[0]))
        return accuracy(answer, record.answers, self.options.rules)

    def blind(self, records: Sequence[Record]) -> float:
        """Score one answer to all questions: the one that people give most often."""
        given: dict[str, int] = {}
        for record in records:
            for answer in record.answers:
                given[answer] = given.get(answer, 0) + 1
        (most,) = self.as_scored([max(given, key=lambda answer: given[answer])])
        return sum(self.score(most, record) for record in records) / len(records)

    def protocol(self) -> str:
        """Say how the numbers were made."""
        rules = {
            "official": "VQAv2's evaluator since March 2021",
            "lavis": "the evaluator of LAVIS, VQAv2's from before March 2021",
            "exact": "exact match after VQA normalisation of both sides, as LAVIS scores GQA",
        }
        generation = self.options.generation
        return (
            f"prompt '{self.options.prompt}', {generation.beams} beams, length penalty {generation.length_penalty}, "
            f"{generation.min_new_tokens} to {generation.max_new_tokens} new tokens; "
            f"{LEMMATISED[self.options.lemmatise]}; accuracy: {rules[self.options.rules]}; "
            "chance: the most frequent answer to everything"
        )


def predicted(records: Sequence[Record], said: Sequence[str], scores: Sequence[float]) -> Iterator[dict[str, Any]]:
    """A line per question: `question_id` and `answer`, as VQA's result files have them, and what it is worth."""
    for record, answer, score in zip(records, said, scores, strict=True):
        line = {"question_id": record.facts.get("question_id", record.name), "question": record.question}
        yield line | {"answer": answer, "truth": list(record.answers), "score": score}


def shown(records: Sequence[Record], said: Sequence[str], scores: Sequence[float]) -> Iterator[Example]:
    """The questions with the highest scores, the lowest, and some others, with what people answered most often."""
    for row, picked in pick(scores):
        record, score = records[row], scores[row]
        truth = max(record.answers, key=record.answers.count)
        yield Example(record.image, truth, said[row], record.question, score >= 0.5, score, picked)


def _lemmatiser() -> Callable[[Iterable[str]], list[str]]:
    try:
        from mmbridge_vqa.lemmas import Lemmas
    except ImportError as error:
        do = "Run `pip install mmbridge[lemmatise]`, or leave `lemmatise` out of the evaluation's options."
        raise UserError(f"answers are lemmatised by spaCy, which cannot be imported ({error}).", do=do) from error
    return Lemmas()


def _groups(records: Sequence[Record]) -> Iterator[tuple[str, list[int]]]:
    for fact in GROUPS:
        kinds = sorted({str(record.facts[fact]) for record in records if record.facts.get(fact)})
        for kind in kinds if len(kinds) <= MANY else ():
            rows = [row for row, record in enumerate(records) if str(record.facts.get(fact)) == kind]
            yield kind.replace("/", "_").replace(" ", "_"), rows
