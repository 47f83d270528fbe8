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

    def loss() -> Tensor:
        return objective(LoneStep(batch, features, bridge, language_model, projection)).loss

    with state(bridge, grad=True, training=False):
        found = objective(LoneStep(batch, features, bridge, language_model, projection))
        expect(found.loss.dim() == 0 and bool(found.loss.isfinite()), "the loss is a finite scalar")
        expect(torch.equal(loss(), found.loss), "the same step always gives the same loss")
        for name, metric in found.metrics.items():
            expect(metric.numel() == 1 and not metric.requires_grad, f"the metric '{name}' is a detached scalar")
    if language_model is None:
        check_reach(bridge, objective.passes, loss)
    else:
        with state(language_model, grad=False, training=False):
            check_reach(bridge, objective.passes, loss)


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
    return Batch(torch.stack([sample.pixels for sample in draft.samples]), rows, rows, prepared)
