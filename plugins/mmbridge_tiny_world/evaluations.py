"""The evaluations: captions read back into attributes, and answers compared word for word."""

import json
from collections.abc import Sequence

from mmbridge_registry import Dataset, Evaluated, Evaluation, Example, Metric, Record, VisionLanguage
from mmbridge_registry.examples import pick

from . import WEIGHTS, AnswersOptions, CaptionsOptions
from .chance import blind_answer, guessed_caption
from .grammar import attributes_right, caption, parse, truth


def all_records(dataset: Dataset) -> list[Record]:
    """Read a dataset from beginning to end."""
    return [dataset.read(index) for index in range(len(dataset))]


def ceilings(tower: str | None, records: Sequence[Record]) -> dict[str, float]:
    """The text-only figures that a shipped tower's card has for the split of these records; empty if it has none."""
    if tower is None:
        return {}
    card = json.loads((WEIGHTS / tower.removeprefix("tiny/") / "card.json").read_text())
    return card.get(records[0].facts["split"], {})


class CaptionAttributes(Evaluation):
    """Share of attributes right in generated captions, and share of captions that say exactly the scene."""

    def __init__(self, options: CaptionsOptions) -> None:
        self.options = options

    def evaluate(self, model: VisionLanguage, dataset: Dataset) -> Evaluated:
        """Caption every picture and read the captions back."""
        options, records = self.options, all_records(dataset)
        written = model.caption([record.image for record in records], options.prompt, options.generation)
        outputs = [f"{options.prompt} {text}".strip() for text in written]
        scenes = [record.facts["scene"] for record in records]
        pairs = [(parse(output), truth(scene)) for output, scene in zip(outputs, scenes, strict=True)]
        values = {
            "attributes": [attributes_right(*pair) for pair in pairs],
            "exact": [said == wanted for said, wanted in pairs],
        }
        chance, ceiling = guessed_caption(scenes), ceilings(options.ceiling_of, records)
        metrics = {key: Metric.mean(each, chance[key], ceiling.get(key)) for key, each in values.items()}
        truths, scores, exact = [caption(scene) for scene in scenes], values["attributes"], values["exact"]
        examples = [
            Example(records[i].image, truths[i], outputs[i], correct=exact[i], score=scores[i], picked=picked)
            for i, picked in pick(scores)
        ]
        predictions = [
            {"image_id": record.name, "caption": output, "references": [true], "attributes": score, "exact": right}
            for record, output, true, score, right in zip(records, outputs, truths, scores, exact, strict=True)
        ]
        return Evaluated(metrics, self.protocol(records), examples, predictions)

    def protocol(self, records: Sequence[Record]) -> str:
        """Say how the numbers were made."""
        return (
            f"tiny world, split {records[0].facts['split']}; prompt '{self.options.prompt}', {decoding(self.options)}; "
            "size, colour and shape by order from the left, background and count; chance: another scene's true caption"
        )


class AnswerAccuracy(Evaluation):
    """Share of questions whose answer is exactly the true word, over all and by kind of question."""

    def __init__(self, options: AnswersOptions) -> None:
        self.options = options

    def evaluate(self, model: VisionLanguage, dataset: Dataset) -> Evaluated:
        """Answer every question of the dataset."""
        records = [record for record in all_records(dataset) if record.question is not None]
        questions = [record.question or "" for record in records]
        said = model.answer([record.image for record in records], questions, generation=self.options.generation)
        right = [text.strip().lower() == record.answers[0] for text, record in zip(said, records, strict=True)]
        ceiling = ceilings(self.options.ceiling_of, records)
        metrics = {"accuracy": accuracy(records, right, ceiling.get("answers"))}
        for kind in sorted({record.facts["kind"] for record in records}):
            chosen = [place for place, record in enumerate(records) if record.facts["kind"] == kind]
            metrics[f"accuracy_{kind}"] = accuracy(
                [records[i] for i in chosen], [right[i] for i in chosen], ceiling.get(f"answers_{kind}")
            )
        scores = list(map(float, right))
        examples = [
            Example(records[i].image, records[i].answers[0], said[i], records[i].question, right[i], scores[i], picked)
            for i, picked in pick(scores)
        ]
        predictions = [
            {"question_id": record.name, "question": record.question, "answer": text, "truth": [*record.answers]}
            | {"score": score, "kind": record.facts["kind"]}
            for record, text, score in zip(records, said, scores, strict=True)
        ]
        return Evaluated(metrics, self.protocol(records), examples, predictions)

    def protocol(self, records: Sequence[Record]) -> str:
        """Say how the numbers were made."""
        return (
            f"tiny world, split {records[0].facts['split']}; prompt 'Question: {{}} Answer:', "
            f"{decoding(self.options)}; exact match in lower case; "
            "chance: the most frequent answer to that kind of question"
        )


def accuracy(records: Sequence[Record], right: Sequence[bool], ceiling: float | None = None) -> Metric:
    """Share of right answers against that of one who does not look."""
    chance = blind_answer([record.facts["kind"] for record in records], [record.answers[0] for record in records])
    return Metric.mean(right, chance, ceiling)


def decoding(options: CaptionsOptions | AnswersOptions) -> str:
    """Name the decoding."""
    generation = options.generation
    if generation.sample:
        return f"sampling at temperature {generation.temperature}"
    return "greedy decoding" if generation.beams == 1 else f"{generation.beams} beams"
