"""Limits: how much a client may ask for, and how long it may take."""

from dataclasses import dataclass

MB = 1_000_000


@dataclass(frozen=True)
class Limits:
    """What is refused beyond; images have a limit of their own (`mmbridge.data.images.MAX_PIXELS`)."""

    body_bytes: int = 20 * MB
    """Body of one request."""
    held_bytes: int = 512 * MB
    """Bodies of all requests that are not answered yet."""
    images: int = 8
    """Images of one question."""
    inputs: int = 64
    """Texts and images of one embedding request."""
    messages: int = 64
    """Turns of a conversation."""
    characters: int = 8000
    """Text of one request, all of its messages or inputs together."""
    new_tokens: int = 256
    """Tokens of one answer."""
    beams: int = 10
    """Beams of the search."""
    batch: int = 32
    """Questions that the model answers in one call."""
    gather_seconds: float = 0.005
    """How long the first question waits for others when the model is idle."""
    waiting: int = 256
    """Questions that wait for the model."""
    connections: int = 512
    """Open connections; more are closed at once."""
    header_seconds: float = 10
    """From the connection, or the first byte of a further request, to the end of its headers; also idle time."""
    body_seconds: float = 30
    """From the end of the headers to the end of the body."""
    shutdown_seconds: int = 30
    """How long questions under way may take to be answered when the server stops."""
