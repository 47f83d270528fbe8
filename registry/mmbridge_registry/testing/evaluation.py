"""The conformance check of evaluations."""

import math

from mmbridge_registry.dataset import Dataset
from mmbridge_registry.evaluation import Evaluated, Evaluation, VisionLanguage
from mmbridge_registry.testing.promises import expect


def check_evaluation(evaluation: Evaluation, model: VisionLanguage, dataset: Dataset) -> None:
    """Check what the framework relies on in an evaluation, with any model that answers.

    Raises:
        AssertionError: names the promise that is broken.
    """
    expect(isinstance(evaluation, Evaluation), "an evaluation derives from Evaluation")
    found = evaluation.evaluate(model, dataset)
    expect(isinstance(found, Evaluated), f"evaluate gives an Evaluated, not {type(found).__name__}")
    expect(len(found.metrics) > 0, "an evaluation measures something")
    expect(len(found.protocol.split()) > 3, "the protocol is a sentence: split, prompt, decoding, scoring")
    for name, metric in found.metrics.items():
        expect(math.isfinite(metric.value), f"the metric '{name}' is finite, not {metric.value}")
        expect(metric.n >= 1, f"the metric '{name}' says on how many items it was measured")
        chance = metric.chance
        expect(chance is None or math.isfinite(chance), f"chance of '{name}' is finite, not {chance}")
    again = evaluation.evaluate(model, dataset)
    expect(dict(again.metrics) == dict(found.metrics), "the same model on the same data always measures the same")
