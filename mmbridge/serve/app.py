"""The application: its routes, and what is said when something goes wrong on them."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from mmbridge.serve import answers, understanding
from mmbridge.serve.batching import Batches
from mmbridge.serve.door import Door
from mmbridge.serve.limits import Limits
from mmbridge.serve.reading import Reader
from mmbridge.serve.refusal import Refusal, UnreadRefusal
from mmbridge.serve.understanding import Asked

if TYPE_CHECKING:
    from mmbridge.inference import Model

PAGE = Path(__file__).parent / "page"
FILES = {"/": "page.html", "/page.css": "page.css", "/page.js": "page.js"}
"""What the page consists of, by path."""


def build_app(
    model: "Model",
    name: str,
    limits: Limits = Limits(),
    token: str | None = None,
    hosts: Collection[str] | None = None,
) -> Starlette:
    """Build the application that serves a model under a name; for `token` and `hosts` see `Door`."""
    batches = Batches(model, limits)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with batches.answering():
            yield

    return Starlette(
        routes=Service(name, batches, limits).routes(),
        middleware=[Middleware(Door, token=token, hosts=hosts)],
        exception_handlers=dict.fromkeys((Refusal, HTTPException, ClientDisconnect, Exception), _refused),
        lifespan=lifespan,
    )


class Service:
    """What each route answers."""

    def __init__(self, name: str, batches: Batches, limits: Limits) -> None:
        self.name = name
        self.batches = batches
        self.limits = limits
        self.reader = Reader(limits)

    def routes(self) -> list[Route]:
        """Give the routes."""
        files = [Route(path, partial(_file, PAGE / file)) for path, file in FILES.items()]
        return [
            *files,
            Route("/healthz", _health),
            Route("/v1/models", self.models),
            Route("/v1/chat/completions", self.chat, methods=["POST"]),
            Route("/v1/embeddings", self.embeddings, methods=["POST"]),
        ]

    async def models(self, _: Request) -> Response:
        """List the model."""
        return JSONResponse(answers.model_list(self.name))

    async def chat(self, request: Request) -> Response:
        """Go on with a conversation about images."""
        async with self.reader.read(request, partial(understanding.chat, limits=self.limits)) as asked:
            text = asked.cut(*await self._answered(asked, request))
        if asked.stream:
            return Response(answers.stream(self.name, text), media_type="text/event-stream")
        return JSONResponse(answers.completion(self.name, text))

    async def embeddings(self, request: Request) -> Response:
        """Embed texts and images."""
        async with self.reader.read(request, partial(understanding.embeddings, limits=self.limits)) as asked:
            vectors = await self._answered(asked, request)
        if asked.dimensions not in {None, len(vectors[0])}:
            raise Refusal(400, f"Embeddings have {len(vectors[0])} dimensions.", "invalid_value", param="dimensions")
        return JSONResponse(answers.embeddings(self.name, vectors, asked.as_base64))

    async def _answered(self, asked: Asked, request: Request) -> list[Any]:
        """Wait for the answers, as long as the client does."""
        if asked.model is not None and asked.model != self.name:
            what = f"There is no model '{asked.model[:100]}' here; this is '{self.name}'."
            raise Refusal(404, what, "model_not_found", param="model")
        answering = asyncio.ensure_future(self.batches.ask(asked.questions))
        leaving = asyncio.ensure_future(request.receive())  # the body is read: all that can still come is the end
        try:
            await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                raise ClientDisconnect
            return answering.result()
        finally:
            answering.cancel()
            leaving.cancel()


async def _health(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _file(path: Path, _: Request) -> Response:
    return FileResponse(path)


async def _refused(_: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):  # no such route, or not by this method; whatever was sent stays unread
        error = UnreadRefusal(error.status_code, f"{error.detail}.", "unknown_url", headers=error.headers)
    if not isinstance(error, Refusal):
        error = Refusal(500, "Something went wrong in the server.", "internal_error")
    return error.response()
