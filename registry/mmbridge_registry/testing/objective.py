"""The conformance check of objectives."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mmbridge_registry.bridge import Bridge, TextBridge
from mmbridge_registry.language_model import LanguageModel
from mmbridge_registry.objective import Draft, Objective, Prepared, Sample
from mmbridge_registry.step import Batch
from mmbridge_registry.testing.bridge import check_reach
from mmbridge_registry.testing.lone_step import LoneStep
from mmbridge_registry.testing.promises import expect, expect_pickles, state

TEXTS = ("a red circle", "two small blue squares on grey", "green ground", "one more thing")


def check_objective(
    objective: Objective,
    bridge: Bridge,
    encoder_width: int,
    language_model: LanguageModel | None = None,
    texts: Sequence[str] = TEXTS,
) -> None:
    """Check what the framework relies on in an objective, on a tiny bridge and (if it writes) language model.

    Raises:
        AssertionError: names the promise that is broken.
    """
    expect(isinstance(objective, Objective), "an objective derives from Objective")
    batch = _check_preparation(objective, _draft(bridge, language_model, texts))
    features = torch.randn(len(batch), 17, encoder_width, generator=torch.Generator().manual_seed(0))
    projection = nn.Linear(bridge.width, language_model.width) if language_model else None

    def step() -> LoneStep:
        return LoneStep(batch, features, bridge, language_model, projection)

    def loss() -> Tensor:
        return objective(step()).total

    with state(bridge, grad=True, training=False):
        found = objective(step())
        expect(found.total.dim() == 0 and bool(found.total.isfinite()), "the loss is a finite scalar")
        expect(torch.equal(loss(), found.total), "the same step always gives the same loss")
        for name, metric in found.metrics.items():
            expect(metric.numel() == 1 and not metric.requires_grad, f"the metric '{name}' is a detached scalar")
        _check_sums(objective, step())
    if language_model is None:
        check_reach(bridge, objective.passes, loss)
    else:
        with state(language_model, grad=False, training=False):
            check_reach(bridge, objective.passes, loss)


def _check_sums(objective: Objective, step: LoneStep) -> None:
    """Check that what is said of rows is the sum of what is said of some of them and of the others."""
    parts = [step.rows(torch.arange(first, len(step.batch), 2)) for first in (0, 1)]
    counts = [float(objective.count(one)) for one in (step, *parts)]
    expect(counts[0] == sum(counts[1:]), f"counts of some rows and of the others add up: {counts[1:]}, not {counts[0]}")
    found = [objective(one) for one in (step, *parts)]
    whole, *some = ({"total": one.total.detach(), **one.metrics} for one in found)
    for name, value in whole.items():
        added = sum(float(part[name]) for part in some)
        close = abs(added - float(value)) <= 1e-4 * max(1.0, abs(float(value)))
        expect(close, f"sums of some rows and of the others add up; '{name}' gives {added:.6g}, not {float(value):.6g}")


def _check_preparation(objective: Objective, draft: Draft) -> Batch:
    worker = expect_pickles(objective, "an objective is picklable: it prepares samples in loader workers")
    prepared = worker.prepare(draft)
    again = objective.prepare(draft)
    expect(prepared.keys() == again.keys(), "the same draft is always prepared under the same names")
    count = len(draft.samples)
    for name, item in prepared.items():
        expect(len(item) == count, f"what is prepared has a row per sample; '{name}' has {len(item)}, not {count}")
        expect(_tensors(item, again[name]), f"the same draft always prepares the same '{name}'")
    return _batch(draft, prepared)


def _tensors(one: Prepared, other: Prepared) -> bool:
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and torch.equal(one, other)
    return type(one) is type(other) and all(_tensors(value, getattr(other, name)) for name, value in vars(one).items())


def _draft(bridge: Bridge, language_model: LanguageModel | None, texts: Sequence[str]) -> Draft:
    samples = [
        Sample(torch.zeros(3, 2, 2), text, None, None, image_id=row, position=row, seed=100 + row)
        for row, text in enumerate(texts)
    ]
    return Draft(
        samples,
        bridge_tokenizer=bridge.tokenizer if isinstance(bridge, TextBridge) else None,
        language_tokenizer=language_model.tokenizer if language_model else None,
    )


def _batch(draft: Draft, prepared: Mapping[str, Prepared]) -> Batch:
    rows = torch.arange(len(draft.samples))
    return Batch(torch.zeros(len(rows), 3, 2, 2), rows, rows, prepared)
