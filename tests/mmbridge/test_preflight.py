"""Before a run trains: what its evaluations could not be asked at the end is refused; nothing else is disturbed."""

from pathlib import Path
from typing import Any

import pytest
import torch
from mmbridge_registry import UserError
from mmbridge_registry.discovery import discover
from rich.console import Console
from toys.tiny_run import write_run

from mmbridge import preflight
from mmbridge.assemble import assemble
from mmbridge.building import build
from mmbridge.config import load_recipe
from mmbridge.engine import alone
from mmbridge.loading import start_of
from mmbridge.preflight import check_evaluations
from mmbridge.runner import run

ONLY_FIRST = ("~stages.generation", "~evaluate.captions", "~evaluate.answers", "~evaluate.captions_of_unseen_pairs")
QUESTIONS = "{name: vqa_accuracy, stages: [generation], data: {name: tiny_world, split: test}}"
LIKELIHOOD = "{name: caption_likelihood, stages: [representation], data: {name: tiny_world, split: test}}"
CAPTIONS = "{name: captioning, stages: [representation], data: {name: tiny_world, split: test}}"


def checked(*overrides: str, start: Path | None = None) -> Any:
    """Check a changed miniature; give its model."""
    found = discover()
    recipe = load_recipe("blip2_tiny_opt", overrides, found)
    model = assemble(recipe, found.catalog)
    datasets = {name: build(one.dataset, found.catalog) for name, one in recipe.evaluate.items()}
    starts = {} if start is None else {"generation": start_of(start, "stages.generation.start")}
    state = torch.get_rng_state()
    check_evaluations(recipe, model, starts, datasets, found.catalog, alone(recipe.run))
    assert torch.equal(torch.get_rng_state(), state)
    return model


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("~stages.representation.objectives.itc",), "retrieval, after .* to compare images with texts"),
        (("evaluate.retrieval.stages=[generation]",), "retrieval, after generation: .* trained the bridge on without"),
        (("stages.generation.train=[bridge]",), "captions, after generation: .* without learning to write"),
        (("stages.generation.train=[bridge]", "~evaluate.captions"), "answers, after .* projection is not trained yet"),
        (("~stages.representation.objectives.itg", f"evaluate.more={LIKELIHOOD}"), "more, after .* learned to write"),
        (("~stages.representation.objectives.itg", f"evaluate.more={CAPTIONS}"), "more, after .* learned to write"),
        ((f"evaluate.more={QUESTIONS}",), "evaluate.more: record .* has no question.* Evaluate on"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused(overrides: tuple[str, ...], said: str) -> None:
    with pytest.raises(UserError, match=said) as error:
        checked(*overrides)
    assert ("leave it out" in str(error.value)) is (", after" in str(error.value))


def test_a_run_refuses_before_it_writes(tmp_path: Path) -> None:
    found = discover()
    overrides = [*ONLY_FIRST, "~stages.representation.objectives.itc", f"run.directory={tmp_path}", "run.device=cpu"]
    with pytest.raises(UserError, match=r"evaluate\.retrieval"):
        run(load_recipe("blip2_tiny_opt", overrides, found), found, Console(quiet=True))
    assert not list(tmp_path.iterdir())


def test_what_can_be_asked_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, refusing = [], preflight.RefusingModel

    def draws(model: Any) -> Any:
        torch.rand(3)
        asked.append({name.partition(".")[0] for name in model.bridged.learned})
        return refusing(model)

    monkeypatch.setattr(preflight, "RefusingModel", draws)
    monkeypatch.setattr("mmbridge.inference.reading.Reading.prepare", None)  # nobody looks at a picture
    model = checked(f"evaluate.more={LIKELIHOOD}", f"evaluate.words={CAPTIONS}")
    assert asked == [{"bridge"}] * 3 + [{"bridge", "projection"}] * 3
    assert not model.learned and model.in_step is None and not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_what_a_stage_starts_from_counts(tmp_path: Path) -> None:
    both = ("~stages.representation", "evaluate.retrieval.stages=[generation]", "stages.generation.train=[projection]")
    with pytest.raises(UserError, match=r"retrieval, after generation: .* to compare images with texts"):
        checked(*both)
    checked(*both, start=write_run(tmp_path) / "checkpoints/representation" / "step-00001600")
