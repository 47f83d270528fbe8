"""The check of objectives: a good one passes, every broken promise is named."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from mmbridge_registry import Draft, Objective, ObjectiveLoss
from mmbridge_registry.testing import check_objective
from torch import nn
from toys.text_bridge import FEATURE
from toys.whole_bridge import WholeBridge

torch.set_num_threads(1)


class Matching(Objective):
    """A good objective: true pairs match."""

    passes = frozenset({"match"})

    def prepare(self, draft: Draft) -> dict[str, Any]:
        return {"captions": draft.captions}

    def forward(self, step: Any) -> ObjectiveLoss:
        logits = step.bridge.match(step.image, step.captions)
        losses = nn.functional.cross_entropy(logits, torch.ones(len(logits), dtype=torch.int64), reduction="sum")
        return ObjectiveLoss(losses, {"logit": logits.detach()[:, 1].sum()})


FORWARD = Matching.forward


def changed(objective: Any, step: Any, **changes: Any) -> ObjectiveLoss:
    return replace(FORWARD(objective, step), **changes)


class TestObjective:
    def test_a_good_one_passes(self) -> None:
        check_objective(Matching(), WholeBridge(), FEATURE)

    @pytest.mark.parametrize(
        ("promise", "changes"),
        [
            ("exactly what a loss reaches", {"passes": frozenset({"match", "contrast"})}),
            ("exactly what a loss reaches", {"passes": frozenset({"image"})}),
            ("row per sample", {"prepare": lambda self, draft: {"captions": torch.zeros(1)}}),
            ("same draft always prepares", {"prepare": lambda self, draft: {"x": torch.rand(4)}}),
            ("finite scalar", {"forward": lambda self, step: changed(self, step, total=torch.ones(2))}),
            ("always gives the same loss", {"forward": lambda self, step: changed(self, step, total=torch.rand(()))}),
            ("counts of some rows and of the others add up", {"count": lambda self, step: 7}),
            ("'total' gives", {"forward": lambda self, step: changed(self, step, total=step.bridge.temp * 3)}),
            ("'m' gives", {"forward": lambda self, step: changed(self, step, metrics={"m": torch.ones(())})}),
            ("detached scalar", {"forward": lambda self, step: changed(self, step, metrics={"m": step.bridge.temp})}),
        ],
    )
    def test_broken_promises(self, promise: str, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        objective = Matching()
        # Broken on the class itself, so that the objective can still be pickled.
        for name, value in changes.items():
            monkeypatch.setattr(Matching, name, value)
        with pytest.raises(AssertionError, match=promise):
            check_objective(objective, WholeBridge(), FEATURE)

    def test_one_that_cannot_travel_to_a_worker(self) -> None:
        objective = Matching()
        objective.note = lambda: None
        with pytest.raises(AssertionError, match="picklable"):
            check_objective(objective, WholeBridge(), FEATURE)
