"""Prompts: from a conversation to what a language model reads. The whole rule:

* A user's words are asked BLIP-2's way, `Question: {} Answer:`, cleaned as questions are in training. Words that end in
  `Answer:` are a prompt already and stay as they are. No words ask for a caption.
* An assistant's words stand as they are and end in a full stop, so that a conversation reads
  `Question: ... Answer: cat. Question: ... Answer:`. A last turn of the assistant's is what the answer begins with.
* System words stand as they are, in their place. Turns are joined by a blank.
* A single image stands before everything. Each of several stands as `<image>` where it was sent, those before a
  question's words in front of `Question:`. Whoever writes `<image>` places all images.
"""

import re
from collections.abc import Sequence

from mmbridge_registry.language_model import IMAGE

from mmbridge.data.text import clean_question
from mmbridge.decoding import ANSWER
from mmbridge.serve.asked import ImagePart, Message, TextPart
from mmbridge.serve.refusal import Refusal

READY = "Answer:"
"""How a user's words end that are a prompt already."""
PARTS = re.compile(rf"((?:{IMAGE}\s*)*)(.*)", re.DOTALL)
"""A turn: images in front, words."""


def read(messages: Sequence[Message]) -> tuple[list[str], str]:
    """Give the URLs of a conversation's images, in order, and the prompt.

    Raises:
        Refusal: there is no image, one that the user did not send, or images and `<image>` do not agree in number.
    """
    images = [part.image_url.url for message in messages for part in message.content if isinstance(part, ImagePart)]
    written = any(IMAGE in part.text for message in messages for part in message.content if isinstance(part, TextPart))
    marked = len(images) > 1 and not written
    turns = [_turn(message, IMAGE if marked else "", message is messages[-1]) for message in messages]
    prompt = " ".join(filter(None, turns))
    places = prompt.count(IMAGE) if marked or written else 1 + prompt.count(IMAGE)
    if not images:
        raise Refusal(400, "There is no image; send one as an `image_url` part.", "no_image", param="messages")
    if places != len(images):
        what = f"Images sent: {len(images)}; places ({IMAGE}) for them: {places}."
        raise Refusal(400, what, "images_and_places", param="messages")
    return images, prompt


def _turn(message: Message, mark: str, last: bool) -> str:
    pieces = [part.text.strip() if isinstance(part, TextPart) else mark for part in message.content]
    words = " ".join(filter(None, pieces))
    if message.role == "user":
        return _asked(words)
    if any(isinstance(part, ImagePart) for part in message.content):
        raise Refusal(400, f"Images belong to the user's turns, not the {message.role}'s.", param="messages")
    ends = last or message.role != "assistant" or not words or words.endswith((".", "!", "?"))
    return words if ends else f"{words}."


def _asked(words: str) -> str:
    images, question = PARTS.fullmatch(words).groups()  # type: ignore[union-attr]
    if not question or question.endswith(READY):
        return words
    return images + ANSWER.prompt.replace("{}", clean_question(question))
