"""Listening: the socket, connections that may not dawdle, and the end."""

import ipaddress
import socket
from asyncio import BaseTransport
from contextlib import suppress

import uvicorn
from mmbridge_registry import UserError
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from mmbridge.serve.limits import Limits

LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""Names by which a server on this machine is called; by others only through DNS rebinding."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a host."""
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def bind(host: str, port: int) -> socket.socket:
    """Open the socket, before a model is loaded.

    Raises:
        UserError: the port is taken or forbidden, or there is no such host.
    """
    where = f"--host {host} --port {port}"
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        what = f"this address cannot be served ({error.strerror or error})."
        raise UserError(what, where=where, do="Choose another port or host.") from error


def listen(app: ASGIApp, opened: socket.socket, limits: Limits = Limits()) -> None:
    """Serve until Ctrl-C; questions under way are answered first."""
    config = uvicorn.Config(
        app,
        http=_patient_with(limits),
        ws="none",
        loop="asyncio",
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=int(limits.header_seconds),
        timeout_graceful_shutdown=limits.shutdown_seconds,
        h11_max_incomplete_event_size=16_384,
    )
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run([opened])


def _patient_with(limits: Limits) -> type[H11Protocol]:
    class Patient(H11Protocol):
        """HTTP/1.1 with an end to patience: uvicorn itself would wait for the end of the headers for ever."""

        due: float | None = None

        def connection_made(self, transport: BaseTransport) -> None:
            super().connection_made(transport)  # type: ignore[arg-type]
            if len(self.connections) > limits.connections:
                self.transport.abort()
            else:
                self._wait_for_headers()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)  # which stops the clock, whatever the data
            if self.cycle is None or self.cycle.response_complete:
                self._wait_for_headers()
            else:
                self.due = None

        def timeout_keep_alive_handler(self) -> None:
            super().timeout_keep_alive_handler()
            self.loop.call_later(limits.header_seconds, self.transport.abort)  # if what it was told is never read

        def _wait_for_headers(self) -> None:
            if self.due is None:
                self.due = self.loop.time() + limits.header_seconds
            self.timeout_keep_alive_task = self.loop.call_at(self.due, self.timeout_keep_alive_handler)

    return Patient
