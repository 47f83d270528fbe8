"""Understanding: from a body to questions for the model. Runs in a thread: it parses megabytes and decodes images."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mmbridge_registry import Generation

from mmbridge.serve import prompts
from mmbridge.serve.asked import ChatRequest, EmbeddingRequest, TextPart, parse
from mmbridge.serve.limits import Limits
from mmbridge.serve.pictures import is_picture, picture
from mmbridge.serve.refusal import Refusal
from mmbridge.serve.work import Completion, ImageEmbedding, TextEmbedding, Work

MAX_TOKENS = Generation().max_new_tokens
"""Of an answer whose length nobody has limited."""


@dataclass(frozen=True)
class Asked:
    """What one request asks of the model, and the name by which it calls it."""

    questions: Sequence[tuple[Work, Any]]
    model: str | None


@dataclass(frozen=True)
class Chat(Asked):
    """One question."""

    stream: bool
    stop: Sequence[str]

    def cut(self, text: str) -> str:
        """Cut an answer off before the first stop sequence in it."""
        return text[: min((place for stop in self.stop if (place := text.find(stop)) >= 0), default=len(text))]


@dataclass(frozen=True)
class Embeddings(Asked):
    """A question per input."""

    as_base64: bool
    dimensions: int | None


def chat(body: bytes, limits: Limits) -> Chat:
    """Understand the body of /v1/chat/completions.

    Raises:
        Refusal: it is malformed, over a limit, or an image is.
    """
    asked = parse(ChatRequest, body)
    _at_most(limits.messages, len(asked.messages), "messages")
    parts = [part for message in asked.messages for part in message.content]
    _short([part.text for part in parts if isinstance(part, TextPart)], limits, "messages")
    generation = _generation(asked, limits)
    urls, prompt = prompts.read(asked.messages)
    _at_most(limits.images, len(urls), "images")
    question = [picture(url) for url in urls], prompt
    return Chat(
        [(Completion(generation), question)], asked.model, asked.stream or False, list(filter(None, asked.stop or []))
    )


def embeddings(body: bytes, limits: Limits) -> Embeddings:
    """Understand the body of /v1/embeddings.

    Raises:
        Refusal: it is malformed, over a limit, or an image is.
    """
    asked = parse(EmbeddingRequest, body)
    _at_most(limits.inputs, len(asked.input), "input")
    texts = [text for text in asked.input if not is_picture(text)]
    _short(texts, limits, "input")
    if not all(text.strip() for text in texts):
        raise Refusal(400, "There is nothing in a text.", "invalid_value", param="input")
    questions = [(ImageEmbedding(), picture(x)) if is_picture(x) else (TextEmbedding(), x) for x in asked.input]
    return Embeddings(questions, asked.model, asked.encoding_format == "base64", asked.dimensions)


def _generation(asked: ChatRequest, limits: Limits) -> Generation:
    """Without `temperature` or `top_p` nothing is drawn: the likeliest answer, the same every time."""
    tokens = asked.max_completion_tokens or asked.max_tokens or MAX_TOKENS
    _at_most(limits.new_tokens, tokens, "max_tokens")
    _at_most(limits.beams, asked.beams, "beams")
    temperature = (0 if asked.top_p is None else 1) if asked.temperature is None else asked.temperature
    if temperature == 0:
        return Generation(beams=asked.beams, max_new_tokens=tokens)
    top_p = 1 if asked.top_p is None else asked.top_p
    return Generation(beams=asked.beams, max_new_tokens=tokens, sample=True, top_p=top_p, temperature=temperature)


def _short(texts: Iterable[str], limits: Limits, param: str) -> None:
    _at_most(limits.characters, sum(map(len, texts)), param, " characters")


def _at_most(limit: int, value: int, param: str, unit: str = "") -> None:
    if value > limit:
        raise Refusal(400, f"{param}: {value:,}{unit} are too many; the limit is {limit:,}.", "over_limit", param=param)
