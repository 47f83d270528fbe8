"""Prompts: from a template, questions and a number of images to one prompt per answer."""

from collections.abc import Sequence

from mmbridge_registry import UserError
from mmbridge_registry.language_model import IMAGE
from mmbridge_registry.prompts import check_images

from mmbridge.data.text import clean_question
from mmbridge.inference.listing import repeated


def asked(images: int, questions: str | Sequence[str] | None, prompt: str | Sequence[str]) -> list[str]:
    """Give the prompts that ask something about so many images.

    A lone question in a lone prompt is asked about every image; with `<image>` in the prompt, it is one prompt about
    all of them.

    Raises:
        UserError: lists differ in length; a prompt has no place for its question, or there is none for the place.
    """
    lists = [texts for texts in (questions, prompt) if texts is not None and not isinstance(texts, str)]
    count = len(lists[0]) if lists else 1 if IMAGE in prompt else images
    if any(len(texts) != count for texts in lists):
        raise UserError(f"there are {len(lists[0])} questions and {len(lists[1])} prompts.", do="Give as many of both.")
    prompts = repeated(prompt, count)
    for one in {prompt} if isinstance(prompt, str) else prompts:
        _check_question(one, wanted=questions is not None)
    if questions is None:
        return list(prompts)
    words = map(clean_question, repeated(questions, count))
    return [one.replace("{}", question) for one, question in zip(prompts, words, strict=True)]


def check_places(images: int, prompts: Sequence[str]) -> None:
    """Expect as many images as the prompts speak of.

    Raises:
        UserError: there are more or fewer.
    """
    if not any(IMAGE in prompt for prompt in prompts) and len(prompts) != images:
        raise UserError(f"there are {images} images and {len(prompts)} prompts.", do="Give one prompt per image.")
    check_images(prompts, images)


def _check_question(prompt: str, wanted: bool) -> None:
    if wanted and "{}" not in prompt:
        raise UserError("the prompt has no place for the question.", where=f"prompt '{prompt}'", do="Write {} there.")
    if not wanted and "{}" in prompt:
        raise UserError("there is no question for its {}.", where=f"prompt '{prompt}'", do="Give questions.")
