"""Served: in this process by starlette's client, or by uvicorn in a process of its own."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import toys.served
from starlette.testclient import TestClient
from toys.served import HOST, Looker

from mmbridge.serve.app import build_app
from mmbridge.serve.limits import Limits
from mmbridge.serve.listening import LOOPBACK


@pytest.fixture
def serving():
    """Give a function that serves a model in this process and gives its client."""

    @contextmanager
    def serve(model=None, limits=Limits(), token=None):
        app = build_app(model or Looker(), "looker", limits, token, LOOPBACK)
        with TestClient(app, base_url=HOST, raise_server_exceptions=False) as client:
            yield client

    return serve


@pytest.fixture
def client(serving) -> Iterator[TestClient]:
    """Give the client of a Looker."""
    with serving() as client:
        yield client


@contextmanager
def server(seconds: float = 0, token: str = ""):
    """Serve a Looker by uvicorn; give its process and port."""
    folder = Path(toys.served.__file__).parents[1]
    command = [sys.executable, "-m", "toys.served", str(seconds), token]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process, int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def port() -> Iterator[int]:
    """Give the port of a Looker that uvicorn serves."""
    with server() as (_, port):
        yield port


@pytest.fixture
def new_server():
    """Give the function that starts a server of one's own."""
    return server
