"""Prompts in which images have places: counted, cut into texts, and embedded with soft prompts between the texts.

A prompt with n placeholders has n images, each in its own place; a prompt without any has one image, in front of it.
A blank belongs to the word after it, so one before a placeholder means nothing, one after it does unless no word has
come before. `"<image> Question:"` is therefore the same as `"Question:"`.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from mmbridge_registry.errors import UserError
from mmbridge_registry.language_model import IMAGE

SLOT = -1
"""Stands in a row of token ids for one query of an image."""


def count_images(prompt: str) -> int:
    """Give the number of images that a prompt speaks of."""
    return prompt.count(IMAGE) or 1


def check_images(prompts: Sequence[str], images: int) -> None:
    """Expect as many images as the prompts speak of, all together.

    Raises:
        UserError: there are more or fewer; of one prompt the message says which.
    """
    places = sum(map(count_images, prompts))
    if images == places:
        return
    named = next((prompt for prompt in prompts if IMAGE in prompt), *prompts[:1] or [""])
    raise UserError(
        f"images given: {images}, places for them: {places}.",
        where=f"prompt '{named}'" + (f" and {len(prompts) - 1} more" if len(prompts) > 1 else ""),
        do=f"Write {IMAGE} once per image; a prompt without it has one image, in front.",
    )


def texts_around(prompt: str) -> list[str]:
    """Cut a prompt with n images into the n + 1 texts before, between and after them; texts may be empty."""
    if IMAGE not in prompt:
        return ["", prompt]
    *before, last = prompt.split(IMAGE)
    texts = [*(text.rstrip(" ") for text in before), last]
    for place, text in enumerate(texts):
        texts[place] = text.lstrip()
        if texts[place]:
            break
    return texts


def with_slots(texts: Sequence[Sequence[int]], queries: int) -> list[int]:
    """Join the ids of n + 1 texts to one row, with a slot for every query of the image between any two."""
    row = list(texts[0])
    for text in texts[1:]:
        row += [SLOT] * queries
        row += text
    return row


def embed(ids: Tensor, soft_prompt: Tensor, table: nn.Module) -> Tensor:
    """Embed rows of ids [B,T] -> [B,T,E]; the queries of soft prompts [I,Q,E] fill the slots in order."""
    slots = ids == SLOT
    embeddings = table(ids.masked_fill(slots, 0))
    embeddings[slots] = soft_prompt.to(embeddings.device, embeddings.dtype).flatten(0, 1)
    return embeddings
