"""Reading: a request's body, under limits, and from bytes to what is asked."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.requests import Request

from mmbridge.serve.limits import Limits
from mmbridge.serve.refusal import RETRY, UnreadRefusal

T = TypeVar("T")

READERS = 2
"""Threads that parse bodies and decode images; as many images exist decoded at a time."""


class Reader:
    """Reads the bodies of all requests; counts the bytes of those that are not answered yet."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.held: dict[Request, int] = {}
        self._threads = CapacityLimiter(READERS)

    @asynccontextmanager
    async def read(self, request: Request, understand: Callable[[bytes], T]) -> AsyncIterator[T]:
        """Read a JSON body and give what `understand` makes of it, in a thread; held until the context is left.

        Raises:
            Refusal: it is no JSON, too large, too slow, too much for now, or what `understand` raises.
        """
        try:
            yield await run_sync(understand, await self._body(request), limiter=self._threads)
        finally:
            self.held.pop(request, None)

    async def _body(self, request: Request) -> bytes:
        # Browsers let any page send plain text to any server; they ask first before they send JSON.
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise UnreadRefusal(415, "The body must be sent as `Content-Type: application/json`.", "invalid_type")
        self._hold(request, _declared(request))
        chunks, size = [], 0
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                async for chunk in request.stream():
                    size += len(chunk)
                    self._hold(request, size)
                    chunks.append(chunk)
        except TimeoutError as error:
            raise UnreadRefusal(408, "The body came too slowly.", "timeout") from error
        return b"".join(chunks)

    def _hold(self, request: Request, size: int) -> None:
        if size > self.limits.body_bytes:
            raise UnreadRefusal(413, f"The body is larger than {self.limits.body_bytes:,} bytes.", "request_too_large")
        self.held[request] = max(size, self.held.get(request, 0))
        if sum(self.held.values()) > self.limits.held_bytes:
            raise UnreadRefusal(503, "Too much is being sent at once; try again.", "overloaded", headers=RETRY)


def _declared(request: Request) -> int:
    length = request.headers.get("content-length", "")
    return int(length) if length.isdecimal() else 0
