"""A real server and clients that mean no good: refused or served, never hung, never swollen."""

import json
import re
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from threading import Thread
from time import monotonic, sleep

import pytest
from toys.served import asked

CHAT = "/v1/chat/completions"
JSON = {"Content-Type": "application/json"}
MB = 1_000_000


def post(port, body, headers=JSON, path=CHAT):
    """Post over a connection of its own; give status and JSON."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("POST", path, json.dumps(body), dict(headers))
        response = connection.getresponse()
        return response.status, json.loads(response.read())


def raw(port):
    """Open a bare connection."""
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def head(length, path=CHAT, extra=""):
    """Give the head of a POST."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"{'Transfer-Encoding: chunked' if length is None else f'Content-Length: {length}'}\r\n{extra}\r\n"
    ).encode()


def until_closed(connection, seconds):
    """Read until the server closes; give what it said. Fails if it takes longer."""
    said, end = b"", monotonic() + seconds
    with suppress(ConnectionResetError):
        while True:
            connection.settimeout(max(0.01, end - monotonic()))
            if not (more := connection.recv(65536)):
                break
            said += more
    return said


def drip(connection, byte=b"x", every=0.1):
    """Send a byte now and then, until the connection ends."""

    def send():
        with suppress(OSError):
            while True:
                connection.sendall(byte)
                sleep(every)

    Thread(target=send, daemon=True).start()


def peak_memory(process):
    """Give the most memory that a process has had, in bytes."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024


def test_a_hundred_at_once_get_their_own_answers(port):
    colours = [f"#{number * 167_000:06x}" for number in range(100)]
    with ThreadPoolExecutor(100) as threads:
        answers = list(threads.map(lambda colour: post(port, asked(f"about {colour[1:]}", colour)), colours))
    for colour, (status, body) in zip(colours, answers, strict=True):
        said = body["choices"][0]["message"]["content"]
        assert status == 200 and said == f"{colour}|Question: about {colour[1:]} Answer:"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_two_hundred_megabytes_are_refused_early_and_not_kept(new_server):
    with new_server() as (process, port):
        before, block = peak_memory(process), b" " * MB
        for chunked in (False, True):
            with raw(port) as connection:
                connection.sendall(head(None if chunked else 200 * MB))
                with suppress(OSError):
                    for _ in range(200):
                        connection.sendall(b"%x\r\n%b\r\n" % (MB, block) if chunked else block)
                said = until_closed(connection, 10)
            assert said.startswith(b"HTTP/1.1 413") and b"request_too_large" in said
        assert peak_memory(process) - before < 64 * MB
        assert post(port, asked("x", "red"))[0] == 200


def test_a_body_that_is_announced_too_large_is_refused_before_it_is_sent(port):
    with raw(port) as connection:
        connection.sendall(head(200 * MB, extra="Expect: 100-continue\r\n"))
        said = connection.recv(65536)
        assert said.startswith(b"HTTP/1.1 413") and b"100 Continue" not in said


def test_who_sends_everything_before_listening_hears_the_refusal(port):
    """As most HTTP clients do; the connection must not be torn down while they send."""
    status, body = post(port, asked("x", "data:image/png;base64," + "A" * (40 * MB)))
    assert status == 413 and body["error"]["code"] == "request_too_large"


def test_twenty_megabytes_are_read(port):
    """What the limit allows is allowed: refused for its image, not for its size."""
    status, body = post(port, asked("x", "data:image/png;base64," + "A" * (19 * MB)))
    assert status == 400 and body["error"]["code"] == "invalid_image"


@pytest.mark.parametrize("beginning", [b"", b"POST", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: "])
@pytest.mark.parametrize("first", [False, True])
def test_headers_that_never_end_are_not_waited_for(port, beginning, first):
    with raw(port) as connection:
        if not first:  # also not on a connection that has been served
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            while b'"ok"' not in connection.recv(65536):
                pass
        connection.sendall(beginning)
        if beginning:
            drip(connection)
        assert until_closed(connection, 4) == b""


@pytest.mark.parametrize("length", [1000, None])
def test_a_body_that_drips_is_not_waited_for(port, length):
    with raw(port) as connection:
        connection.sendall(head(length))
        drip(connection, b"x" if length else b"1\r\nx\r\n")
        said = until_closed(connection, 6)
        assert said.startswith(b"HTTP/1.1 408") and b'"timeout"' in said


def test_many_slow_clients_keep_nobody_out(port):
    slow = [raw(port) for _ in range(100)]
    for connection in slow:
        connection.sendall(b"POST / HTTP/1.1\r\nHost:")
    start = monotonic()
    assert post(port, asked("x", "red"))[0] == 200 and monotonic() - start < 1
    for connection in slow:
        assert until_closed(connection, 4) == b""


def test_connections_have_a_limit_and_room_comes_back(port):
    idle = [raw(port) for _ in range(170)]
    sleep(0.3)
    with pytest.raises((OSError, HTTPException)):
        post(port, asked("x", "red"))
    for connection in idle:
        connection.close()
    sleep(0.3)
    assert post(port, asked("x", "red"))[0] == 200


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x00" * 100_000,
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"y" * MB + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -5\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        head("9" * 30),
        head("1_0"),
    ],
)
def test_garbage_is_refused(port, garbage):
    with raw(port) as connection:
        with suppress(OSError):
            connection.sendall(garbage)
        said = until_closed(connection, 6)
        assert re.match(rb"HTTP/1.1 4\d\d ", said) and b"Traceback" not in said


def test_a_client_that_vanishes_within_its_body_does_no_harm(port):
    for _ in range(20):
        with raw(port) as connection:
            connection.sendall(head(1000) + b"{")
    assert post(port, asked("x", "red"))[0] == 200


def test_a_wrong_token_is_refused_before_the_body_is_read(new_server):
    with new_server(token="secret") as (_, port), raw(port) as connection:
        connection.sendall(head(10 * MB, extra="Expect: 100-continue\r\nAuthorization: Bearer wrong\r\n"))
        assert connection.recv(65536).startswith(b"HTTP/1.1 401")
        assert post(port, asked("x", "red"), {**JSON, "Authorization": "Bearer secret"})[0] == 200


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_gracefully(new_server, end):
    """Who is waiting is answered, new ones are not taken, and nothing but silence is left behind."""
    with new_server(seconds=1) as (process, port), ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(post, port, asked("x", "red"))
        sleep(0.5)
        process.send_signal(end)
        sleep(0.2)
        with pytest.raises(OSError):
            raw(port)
        assert waiting.result()[0] == 200
        assert process.wait(10) == (0 if end == signal.SIGINT else -signal.SIGTERM)
        assert process.stderr.read() == ""
