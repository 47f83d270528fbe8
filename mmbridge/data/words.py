"""Words: what a sample says of its image. Torch-free, so that a check of the data need not wait for it."""

from dataclasses import dataclass

from mmbridge_registry import Record

from mmbridge.data.order import draw
from mmbridge.data.text import clean_caption, clean_question


@dataclass(frozen=True)
class Words:
    """What is said of an image in one sample, cleaned."""

    text: str
    question: str | None = None
    answer: str | None = None


def choose_words(record: Record, seed: int) -> Words:
    """Draw one caption and one answer of a record, and clean what is drawn.

    Raises:
        ValueError: nothing is left to say: no caption after cleaning, or a question without words or answers.
    """
    captions = [caption for caption in map(clean_caption, record.texts) if caption]
    text = captions[draw(seed, "caption") % len(captions)] if captions else ""
    if record.question is None:
        if not text:
            raise ValueError("the caption is empty after cleaning" if record.texts else "there is no caption")
        return Words(text)
    question = clean_question(record.question)
    answers = [answer for answer in record.answers if answer.strip()]
    if not question.strip() or not answers:
        raise ValueError("the question has no answer" if question.strip() else "the question is empty after cleaning")
    return Words(text, question, answers[draw(seed, "answer") % len(answers)])
