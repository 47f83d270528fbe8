"""What an export to transformers could not carry, and what its reader must know."""

from collections.abc import Iterator, Mapping

from mmbridge_registry import Assembled

from mmbridge_blip2.hugging_face.side_file import EPS, SETTINGS, TENSORS, Side
from mmbridge_blip2.hugging_face.target import Target


def losses(
    model: Assembled, target: Target, side: Side, renamed: Mapping[str, str], ours: Mapping[int, str]
) -> Iterator[str]:
    """Name what was learned or set and has no place there, with what becomes of it."""
    kept = {ours[id(target.bridge.tensors[name])] for name in side.tensors}
    yield from (f"{name}: kept in {TENSORS}" for name in sorted(kept))
    if EPS in side.settings:
        yield (
            f"bridge.{EPS} {side.settings[EPS]}: transformers computes that norm with the encoder's"
            f" {target.encoder.config['norm_eps']}; kept in {SETTINGS}"
        )
    left = sorted(model.learned - renamed.keys() - kept)
    yield from (f"{name}: left out" for name in left)


def notes(model: Assembled, target: Target, renamed: Mapping[str, str], ours: Mapping[int, str]) -> Iterator[str]:
    """Write a sentence or two about each thing that the files do not say."""
    trained, bridge = model.learned, [ours[id(tensor)] for tensor in target.bridge.tensors.values()]
    if new := sorted(name for name in bridge if name in renamed and name not in trained):
        yield f"No stage has trained {', '.join(new[:3])}{' ...' if new[3:] else ''}: written as new as they are."
    if left := [name for name in bridge if name not in renamed and name not in trained]:
        yield f"{len(left)} tensors of the Q-Former that no stage has trained are left out."
    if target.speech is None:
        yield from _of_retrieval(model)
    else:
        yield from _of_generation(target)


def _of_retrieval(model: Assembled) -> Iterator[str]:
    if model.language_model is not None:
        yield "No stage has trained the projection, so the language model is left out."
    yield "Give its processor plain texts; one softmax over `logits_per_image` of the matching head, not two."


def _of_generation(target: Target) -> Iterator[str]:
    speech = target.speech
    assert speech is not None  # only then is it asked
    if speech.grows:
        yield (
            f"The table of tokens has no row to spare for <image>, so it grew to {speech.rows} rows; the new one"
            " repeats that of the pad token and is never likelier than it."
        )
    yield (
        "`generate` of transformers' BLIP-2 reads text_config, not generation_config.json (so in 5.23): pass"
        " `generation_config=model.generation_config` to rule out that <image> is ever written."
    )
    yield "Its processor drops chat templates (so in 5.23): use `processor.tokenizer.apply_chat_template`."
