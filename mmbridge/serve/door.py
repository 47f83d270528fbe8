"""The door: who may come in, and what every answer says to browsers."""

import hmac
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mmbridge.serve.refusal import UnreadRefusal

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Of every answer: nothing is loaded from elsewhere, shown elsewhere, or kept."""
LOCKED = "/v1/"
"""Paths that need the token; the page and /healthz tell nothing."""


@dataclass(frozen=True)
class Door:
    """ASGI middleware: checks the Host header and the bearer token before a byte of the body is read."""

    app: ASGIApp
    token: str | None = None
    """Bearer token; None lets everybody in."""
    hosts: Collection[str] | None = None
    """Names by which the server may be called; None allows any.

    A page of somebody else's can point its own name at 127.0.0.1 (DNS rebinding) and is then read as this server's.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        answer = self.app
        try:
            self._check(Request(scope))
        except UnreadRefusal as refusal:
            answer = refusal.response()
        return await answer(scope, receive, send_with_headers)

    def _check(self, request: Request) -> None:
        if self.hosts is not None and _hostname(request) not in self.hosts:
            raise UnreadRefusal(403, "This server is not called so; use its address.", "invalid_host")
        if self.token is not None and request.url.path.startswith(LOCKED) and not self._knows_token(request):
            message = "The token is missing or wrong; send it as `Authorization: Bearer TOKEN`."
            raise UnreadRefusal(401, message, "invalid_api_key", headers={"WWW-Authenticate": "Bearer"})

    def _knows_token(self, request: Request) -> bool:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        right = hmac.compare_digest(given.strip().encode("latin-1"), (self.token or "").encode())
        return right and scheme.lower() == "bearer"


def _hostname(request: Request) -> str | None:
    try:
        return urlsplit(f"//{request.headers.get('host', '')}").hostname
    except ValueError:
        return None
