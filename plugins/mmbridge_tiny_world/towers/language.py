"""What the language towers are trained on and measured by: descriptions with captions, questions and answers."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..grammar import CAPTION_PROMPT, WORDINGS, attributes_right, caption, captions, parse, shorthand, truth
from ..questions import ASKERS, ask_colour, ask_existence, draw_question
from ..world import COLOURS, SHAPES, SIZES, Scene, Split, held_out_scenes, scene_by_lot

SEED = 0
QUESTION_SHARE = 0.7
# To find a word of the question in the description takes longest to learn: it is asked for most often.
TRAINING_ASKERS = (*ASKERS, ask_colour, ask_colour, ask_existence, ask_existence)
Generate = Callable[[list[str], list[str]], list[str]]  # descriptions, prompts -> continuations


class Sample(NamedTuple):
    """A description of a scene, the text that is given after it, and the text that shall follow."""

    description: str
    prompt: str
    target: str


def question_prompt(text: str) -> str:
    """Put a question as BLIP-2 puts it to a language model."""
    return f"Question: {text} Answer:"


def text_sample(index: int, split_caption: bool) -> Sample:
    """Draw the training text number `index`; a caption is split within its first half if asked for (prefix LM)."""
    rng = np.random.default_rng([SEED, index])
    scene = scene_by_lot(rng, "train")
    if rng.random() < QUESTION_SHARE:
        asked = draw_question(scene, rng, TRAINING_ASKERS)
        return Sample(shorthand(scene), question_prompt(asked.text), asked.answer)
    words = caption(scene, int(rng.integers(len(WORDINGS[len(scene.things)])))).split()
    cut = int(rng.integers(1, len(words) // 2 + 1)) if split_caption else 0
    return Sample(shorthand(scene), " ".join(words[:cut]), " ".join(words[cut:]))


def all_words(say: Callable[[Scene], str] = shorthand) -> list[str]:
    """Texts that hold every word of the world in every place that it can take: what tokenizers are made from."""
    rng = np.random.default_rng(SEED)
    lines: list[str] = []
    for _ in range(2000):
        scene = scene_by_lot(rng, "train")
        asked = draw_question(scene, rng)
        lines += [say(scene), *captions(scene), f"{question_prompt(asked.text)} {asked.answer}\n"]
    return lines


@torch.no_grad()
def compose(embeddings: Tensor, token: Callable[[str], int]) -> None:
    """Begin each shorthand word (`firstred`) as its slot plus its word (`red`), so that what is alike looks alike."""
    for slot in ("first", "second"):
        mark = torch.randn(embeddings.shape[1]) * embeddings.std()
        for word in (*SIZES, *COLOURS, *SHAPES):
            embeddings[token(slot + word)] = (embeddings[token(word)] + mark) / 2**0.5


def noisy(embeddings: Tensor, scale: float, generator: torch.Generator) -> Tensor:
    """Blur embeddings in proportion to their spread, each row by its own drawn share of `scale`: a soft prompt errs."""
    share = torch.rand(len(embeddings), 1, 1, generator=generator) * scale
    return embeddings + torch.randn(embeddings.shape, generator=generator) * share * embeddings.detach().std()


def ceiling(generate: Generate, split: Split = "test", size: int = 256) -> dict[str, float]:
    """How well a language tower captions and answers when it is given the true description as text."""
    scenes = held_out_scenes(split, SEED, size)
    return {**caption_ceiling(generate, scenes), **answer_ceiling(generate, scenes)}


def caption_ceiling(generate: Generate, scenes: tuple[Scene, ...]) -> dict[str, float]:
    """Attributes and whole scenes right in captions that are written from descriptions."""
    written = generate([shorthand(scene) for scene in scenes], [CAPTION_PROMPT] * len(scenes))
    pairs = [(parse(f"{CAPTION_PROMPT} {text}"), truth(scene)) for text, scene in zip(written, scenes, strict=True)]
    attributes = sum(attributes_right(*pair) for pair in pairs) / len(pairs)
    return {"attributes": round(attributes, 4), "exact": round(sum(a == b for a, b in pairs) / len(pairs), 4)}


def answer_ceiling(generate: Generate, scenes: tuple[Scene, ...]) -> dict[str, float]:
    """Questions answered right from descriptions, over all and by kind; every scene is asked every kind it admits."""
    rng = np.random.default_rng(SEED)
    asked = [(scene, asker(scene, rng)) for scene in scenes for asker in ASKERS]
    asked = [(shorthand(scene), question) for scene, question in asked if question is not None]
    said = generate([given for given, _ in asked], [question_prompt(question.text) for _, question in asked])
    right: dict[str, list[bool]] = {"answers": []}
    for text, (_, question) in zip(said, asked, strict=True):
        right["answers"].append(text == question.answer)
        right.setdefault(f"answers_{question.kind}", []).append(text == question.answer)
    return {key: round(sum(values) / len(values), 4) for key, values in right.items()}
