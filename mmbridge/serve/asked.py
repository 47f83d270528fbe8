"""What is asked: the fields of OpenAI's requests that mean something here; those that no model here can do are refused.

Fields that nobody here knows are ignored, as they change nothing: `user`, `seed`, `store`, ...
"""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveInt, ValidationError

from mmbridge.serve.refusal import Refusal


class _Asked(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


A = TypeVar("A", bound=_Asked)

MARKS = (b'"', b",", b":", b"[", b"{")
MAX_MARKS = 20_000
"""Of these in a body, words included. Images have none: megabytes with more are made to become gigabytes when they are
parsed, a hundred bytes of each empty list, a thousand of each wrong one."""
Nothing = Annotated[list[Any] | dict[str, Any] | None, Field(max_length=0)]
Zero = Annotated[float | None, Field(ge=0, le=0)]


class ImageUrl(_Asked):
    """Where an image is; only data URIs are read."""

    url: str


class ImagePart(_Asked):
    """An image among the parts of a message."""

    type: Literal["image_url"]
    image_url: ImageUrl


class TextPart(_Asked):
    """Words among the parts of a message."""

    type: Literal["text"]
    text: str


class TextFormat(_Asked):
    """The only format in which models here answer."""

    type: Literal["text"]


def _parts(content: Any) -> Any:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return content or []


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]
OneOrMore = Annotated[list[str], BeforeValidator(_listed)]


class Message(_Asked):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[list[Part], BeforeValidator(_parts)] = []


class ChatRequest(_Asked):
    """Body of /v1/chat/completions."""

    messages: list[Message] = Field(min_length=1)
    model: str | None = None
    max_tokens: PositiveInt | None = None
    max_completion_tokens: PositiveInt | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    stop: Annotated[OneOrMore | None, Field(max_length=4)] = None
    stream: bool | None = None
    beams: PositiveInt = 1
    """Not OpenAI's: beams of the search, which published captions are written with."""
    n: Literal[1] | None = None
    logprobs: Literal[False] | None = None
    presence_penalty: Zero = None
    frequency_penalty: Zero = None
    logit_bias: Nothing = None
    tools: Nothing = None
    functions: Nothing = None
    response_format: TextFormat | None = None
    modalities: list[Literal["text"]] | None = None


class EmbeddingRequest(_Asked):
    """Body of /v1/embeddings."""

    input: Annotated[OneOrMore, Field(min_length=1)]
    model: str | None = None
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: PositiveInt | None = None


def parse(kind: type[A], body: bytes) -> A:
    """Read a body.

    Raises:
        Refusal: it is no JSON, too much or too deep, or a field does not fit; the message never repeats what was sent.
    """
    if sum(map(body.count, MARKS)) > MAX_MARKS:
        raise Refusal(400, f"The body has more than {MAX_MARKS:,} quotes, commas, colons and brackets.", "invalid_json")
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        param = ".".join(map(str, first["loc"])) or None
        code = "invalid_json" if first["type"] == "json_invalid" else "invalid_value"
        raise Refusal(400, f"{param}: {first['msg']}." if param else f"{first['msg']}.", code, param=param) from error
