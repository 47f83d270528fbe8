"""What was learned: a head that nobody has trained is refused before it answers at random."""

from collections.abc import Iterator

from mmbridge_registry import LanguageModel, TextBridge, UserError
from mmbridge_registry.bridge import Pass

from mmbridge.model import BridgedModel

DOES: dict[Pass, str] = {"contrast": "to compare images with texts", "match": "to match", "decode": "to write"}


class NotLearnedError(UserError):
    """What is asked for was not trained: another stage, or another model, may have learned it."""


def writes(model: BridgedModel) -> bool:
    """Whether the language model can be asked: it is there, and something has learned to show it images."""
    ways_in = ("projection.", "language_model.")
    return model.language_model is not None and any(name.startswith(ways_in) for name in model.learned)


def language_model_of(model: BridgedModel) -> LanguageModel:
    """Give the language model.

    Raises:
        NotLearnedError: there is none, or it cannot see images yet.
    """
    if model.language_model is None:
        raise NotLearnedError("this model has no language model.", do="Choose a run whose config names one.")
    if not writes(model):
        raise NotLearnedError(
            "its projection is not trained yet, so the language model cannot see the image.",
            do="Choose a later stage, one that has `projection` under `train`.",
        )
    return model.language_model


def text_bridge_of(model: BridgedModel, *passes: Pass) -> TextBridge:
    """Give the bridge for certain passes.

    Raises:
        NotLearnedError: it reads no text, or has not learned what these passes need.
    """
    bridge = model.bridge
    if not isinstance(bridge, TextBridge):
        raise NotLearnedError(
            f"this model's bridge ({type(bridge).__name__}) reads and writes no text.",
            do="Use a text bridge such as `qformer`.",
        )
    for one in passes:
        if missing := list(_unlearned(model, bridge, one)):
            some = f"{missing[0]}, ..." if len(missing) > 1 else missing[0]
            raise NotLearnedError(
                f"this model's bridge has not learned {DOES[one]}: nobody has trained {len(missing)} of its tensors "
                f"({some}), so whatever it said would be random.",
                do="Choose a run or a checkpoint that was trained for it; one made for generation holds no text half.",
            )
    return bridge


def text_bridge_in_step(model: BridgedModel, *passes: Pass) -> TextBridge:
    """Give the bridge for certain passes, as users may ask it.

    Raises:
        NotLearnedError: as `text_bridge_of`; or a later stage has trained the bridge on without them.
    """
    bridge = text_bridge_of(model, *passes)
    left: list[Pass] = [one for one in passes if model.in_step is not None and one not in model.in_step]
    if left:
        raise NotLearnedError(
            f"this model's last stage has trained the bridge on without learning {DOES[left[0]]}: its queries have"
            " moved away from its text half.",
            do="Ask the stage that was trained for it: --stage NAME, or mmbridge.load(run, NAME).",
        )
    return bridge


def temperature_of(model: BridgedModel) -> float:
    """Give the temperature of the contrastive similarities.

    Raises:
        NotLearnedError: it was not learned; some formats do not keep it.
    """
    bridge = text_bridge_of(model, "contrast")
    if any(f"bridge.{name}" not in model.learned for name, p in bridge.named_parameters() if p is bridge.temperature):
        raise NotLearnedError(
            "this model's temperature was not learned, or not kept.", do="Use the cosines, which need none."
        )
    return bridge.temperature.item()


def _unlearned(model: BridgedModel, bridge: TextBridge, one: Pass) -> Iterator[str]:
    # Cosines do without the temperature, and checkpoints in transformers' format have none.
    for name, parameter in bridge.parameters_for(frozenset({one})):
        if f"bridge.{name}" not in model.learned and parameter is not bridge.temperature:
            yield f"bridge.{name}"
