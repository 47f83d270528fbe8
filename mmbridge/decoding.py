"""Decodings: how text is asked for and decoded per task, each under a name with a version. Torch-free.

`model.caption(images, **BLIP2_COCO.arguments)`, or `mmbridge caption MODEL IMAGES --decoding blip2-coco-caption/1`. A
block never changes: another setting is another version. All lengths are in new tokens.
"""

from dataclasses import dataclass
from typing import Any

from mmbridge_registry import Generation, UserError
from mmbridge_registry.catalog import did_you_mean


@dataclass(frozen=True)
class Decoding:
    """A prompt and the settings of the search that go with it."""

    name: str
    prompt: str
    """What the text goes on after; `{}` in it is the question."""
    generation: Generation
    source: str
    """Whose settings these are."""

    @property
    def asks(self) -> bool:
        """Whether it answers questions; else it captions."""
        return "{}" in self.prompt

    @property
    def arguments(self) -> dict[str, Any]:
        """Give what `Model.caption` or `Model.answer` takes."""
        return {"prompt": self.prompt, "generation": self.generation}


BEAM_5 = Generation(beams=5, max_new_tokens=10, min_new_tokens=1)

CAPTION = Decoding("caption/1", "", Generation(), "mmbridge: greedy")
ANSWER = Decoding("answer/1", "Question: {} Answer:", Generation(max_new_tokens=10), "mmbridge: greedy")
BLIP2_COCO = Decoding(
    "blip2-coco-caption/1",
    "a photo of",
    Generation(beams=5, max_new_tokens=30, min_new_tokens=8),
    "BLIP-2, COCO captions as published: before LAVIS' defaults became repetition 1.15 and length 0",
)
BLIP2_NOCAPS = Decoding(
    "blip2-nocaps/1",
    "",
    Generation(beams=5, max_new_tokens=80, min_new_tokens=10, repetition_penalty=1.15),
    "LAVIS, NoCaps with a FlanT5 that was not tuned on COCO",
)
BLIP2_QFORMER = Decoding(
    "blip2-qformer-caption/1",
    "",
    Generation(beams=3, max_new_tokens=30, min_new_tokens=10),
    "LAVIS, captions by the Q-Former alone",
)
BLIP2_VQA_T5 = Decoding(
    "blip2-vqa-t5/1",
    "Question: {} Short answer:",
    BEAM_5.model_copy(update={"length_penalty": -1.0}),
    "BLIP-2 and LAVIS, zero-shot VQA with FlanT5",
)
BLIP2_VQA_OPT = Decoding(
    "blip2-vqa-opt/1",
    "Question: {} Answer:",
    BEAM_5.model_copy(update={"length_penalty": -1.0}),
    "BLIP-2 (section 4.1), zero-shot VQA with OPT",
)
LAVIS_VQA_OPT = Decoding(
    "lavis-vqa-opt/1",
    "Question: {} Short answer:",
    BEAM_5.model_copy(update={"length_penalty": 0.0}),
    "LAVIS, zero-shot VQA with OPT: not as in the paper",
)

DECODINGS = {
    decoding.name: decoding
    for decoding in (
        CAPTION,
        ANSWER,
        BLIP2_COCO,
        BLIP2_NOCAPS,
        BLIP2_QFORMER,
        BLIP2_VQA_T5,
        BLIP2_VQA_OPT,
        LAVIS_VQA_OPT,
    )
}


def names(asks: bool) -> list[str]:
    """List the decodings that answer questions, or those that caption."""
    return [name for name, decoding in DECODINGS.items() if decoding.asks is asks]


def find(name: str, asks: bool) -> Decoding:
    """Find a decoding by its name; one that answers questions if `asks`, else one that captions.

    Raises:
        UserError: there is none of that name for the task; the message has the nearest.
    """
    if name not in names(asks):
        task = "answers" if asks else "captions"
        raise UserError(f"there is no decoding '{name}' for {task}{did_you_mean(name, names(asks))}")
    return DECODINGS[name]
