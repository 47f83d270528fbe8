"""Refusals: what a client hears instead of an answer, in the form that OpenAI's clients read."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

RETRY = {"Retry-After": "1"}
"""Headers of a refusal that will soon be none; clients wait so many seconds and ask again."""
LINGER = 2.0
"""Seconds for which the rest of a refused body is read and thrown away, so that its sender gets to see the refusal."""


class Refusal(Exception):  # noqa: N818 - not every answer that is not given is an error
    """An answer that is not given: HTTP status, message, OpenAI's `code` and `param`."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        *,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param, self.headers = status, message, code, param, headers

    def response(self) -> Response:
        """Give the refusal as a response."""
        return JSONResponse(self.content, self.status, self.headers)

    @property
    def content(self) -> object:
        """The JSON body."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


class UnreadRefusal(Refusal):
    """A refusal of a request whose body has not been read to its end; it ends the connection."""

    def response(self) -> Response:
        return _LastWord(self.content, self.status, {**(self.headers or {}), "Connection": "close"})


class _LastWord(JSONResponse):
    """Says everything at once, then reads what still comes in: closing at once would tear the answer up on its way."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER):
                while (await receive()).get("more_body"):
                    pass
        await send({"type": "http.response.body", "body": b""})
