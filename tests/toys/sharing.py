"""Everything an evaluation can ask, asked of a toy model by any number of ranks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmbridge_registry import Generation
from PIL import Image
from toys.answering import Eye, Voice, Words

from mmbridge.asked import shared
from mmbridge.asked.journal import Journal
from mmbridge.asked.shared import SharedModel
from mmbridge.collectives import Collectives
from mmbridge.inference import Model
from mmbridge.model import BridgedModel

COUNT = 23
TEXTS = [f"number {row}" for row in range(COUNT)]
PAIRS = torch.arange(90) * 7 % COUNT


def images() -> list[Image.Image]:
    return [Image.new("RGB", (4, 4), (row * 11, 255 - row * 9, row)) for row in range(COUNT)]


def toy_model() -> Model:
    """Batches of two; slices are of eight images, and pairs are matched five at a time."""
    torch.manual_seed(0)
    shared.PAIRS = 5
    bridged = BridgedModel(Eye(), Words(), Voice()).eval()
    bridged.learned.update(bridged.tensors())
    return Model(bridged, batch_size=2)


def everything(model: Any) -> dict[str, Any]:
    """Ask whatever can be asked."""
    pictures, texts = images(), TEXTS
    encoded = model.encode(pictures)
    return {
        "captions": model.caption(pictures, TEXTS),
        "one prompt": model.caption(pictures, "a", Generation(max_new_tokens=3)),
        "answers": model.answer(pictures, TEXTS, "{}?"),
        "completed": model.complete([[one, pictures[0]] for one in pictures], ["<image> and <image>"] * COUNT),
        "ranked": model.rank(pictures, TEXTS, ["a", "bcd"], "{}?"),
        "ranked each": model.rank(pictures, TEXTS, [[text, "no"] for text in texts], "{}?"),
        "matched": torch.stack(model.match(pictures, texts)),
        "embedded": model.embed_images(pictures),
        "words": model.embed_texts(texts),
        "encoded": encoded.embed(),
        "pairs": encoded.match(PAIRS, [TEXTS[row % 5] for row in PAIRS]),
        "nothing": model.caption([]),
        "no pairs": encoded.match(PAIRS[:0], []),
    }


def ask_together(collectives: Collectives, folder: str | None, rounds: int | None, divided: bool) -> Any:
    """Ask everything on this rank; with `rounds`, be stopped after so many of them. Also count the images encoded."""
    model, left = toy_model(), [rounds]
    journal = Journal(Path(folder) if folder else None, {"step": 1}, writes=collectives.rank == 0)
    between: Callable[[], None] = lambda: stop_at_zero(left)  # noqa: E731
    try:
        given = everything(SharedModel(model, collectives, journal, between, divided))
    except KeyboardInterrupt:
        given = None
    return given, model.bridged.vision_encoder.images


def stop_at_zero(left: list[int | None]) -> None:
    if left[0] is not None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(_equal(one[name], other[name]) for name in one)


def _equal(one: Any, other: Any) -> bool:
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
