"""Interleaved: soft prompts of all the images that prompts speak of, each image encoded once."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from mmbridge_registry.prompts import count_images
from torch import Tensor

from mmbridge.inference.listing import Picture
from mmbridge.inference.reading import Reading

T = TypeVar("T")


def put(
    reading: Reading,
    images: Sequence[Picture],
    prompts: Sequence[str],
    ask: Callable[[Tensor, slice], Sequence[T]],
) -> list[T]:
    """Ask something of the soft prompts [I,Q,E] and the rows of batch after batch of prompts.

    Images are dealt out to the prompts in order, and agree with them in number. One that stands in several prompts is
    encoded once; its soft prompt is kept until its last prompt is done.
    """
    counts = [count_images(prompt) for prompt in prompts]
    if max(counts, default=1) > 1 or len({id(image) for image in images}) < len(images):
        images = list(images)
        keys = [identity(image) for image in images]
    else:
        keys = list(range(len(images)))
    first = {key: place for place, key in reversed(list(enumerate(keys)))}
    distinct = images if len(first) == len(keys) else [images[place] for place in sorted(first.values())]
    left, held, results = Counter(keys), dict[Hashable, Tensor](), list[T]()
    with reading.answering():
        soft_prompts = reading.each(distinct, lambda features, _: list(reading.bridged.soft_prompt(features)))
        for rows, places in _batches(counts, reading.batch_size):
            used = keys[places]
            for key in used:
                if key not in held:
                    held[key] = next(soft_prompts)
            results += ask(torch.stack([held[key] for key in used]), rows)
            left.subtract(used)
            held = {key: soft_prompt for key, soft_prompt in held.items() if left[key]}
    return results


def identity(image: Picture) -> Hashable:
    """Equal paths and equal bytes are the same image; other objects are the same if they are one."""
    return image if isinstance(image, str | Path | bytes) else id(image)


def _batches(counts: Sequence[int], size: int) -> Iterator[tuple[slice, slice]]:
    """Cut prompts with so many images each into batches of at most `size` images, or of one prompt; give the rows and
    the places of their images."""
    row, place = 0, 0
    while row < len(counts):
        end, until = row + 1, place + counts[row]
        while end < len(counts) and until + counts[end] <= place + size:
            until += counts[end]
            end += 1
        yield slice(row, end), slice(place, until)
        row, place = end, until
