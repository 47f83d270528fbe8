"""Images inside requests: read whole, or refused with the reason; nothing is fetched, nothing is guessed."""

import socket
import struct
import zlib

import pytest
from toys.served import Looker, asked, data_uri, encoded, image_part

CHAT = "/v1/chat/completions"


def bomb(side=30_000):
    """Give a PNG of 30,000 x 30,000 black pixels: 110 KB that would become 2.7 GB."""

    def chunk(name, content):
        check = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((side // 8 + 1) * side), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


PHOTO = encoded("red", (64, 64), "JPEG")
NOISE = bytes(range(256)) * 8


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://example.com/cat.png", "nothing is fetched"),
        ("https://127.0.0.1/cat.png", "nothing is fetched"),
        ("file:///etc/passwd", "nothing is fetched"),
        ("/etc/passwd", "nothing is fetched"),
        ("", "nothing is fetched"),
        ("data:image/png,abc", "nothing is fetched"),
        ("data:image/png;base64", "nothing is fetched"),
        ("data:" + ";a=b" * 100_000, "nothing is fetched"),
        ("data:image/png;base64,", "cannot be read"),
        ("data:image/png;base64,!!!!", "cannot be read"),
        ("data:image/png;base64,AAA", "cannot be read"),
        (data_uri(b"GIF89a"), "cannot be read"),
        (data_uri(NOISE), "cannot be read"),
        (data_uri(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), "cannot be read"),
        (data_uri(b'<svg xmlns="http://www.w3.org/2000/svg"/>', "image/svg+xml"), "cannot be read"),
        (data_uri(PHOTO[: len(PHOTO) // 2], "image/jpeg"), "cannot be read"),
        (data_uri(encoded("red", (64, 64))[:-30]), "cannot be read"),
        (data_uri(bomb()), "cannot be read"),
    ],
)
def test_what_is_no_whole_image_is_refused(client, url, said):
    done = client.post(
        CHAT, json={"messages": [{"role": "user", "content": [{**image_part(b"x"), "image_url": {"url": url}}]}]}
    )
    assert done.status_code == 400
    assert said in done.json()["error"]["message"] and len(done.text) < 500


@pytest.mark.parametrize(
    "uri",
    [
        data_uri("red", "image/jpeg"),
        data_uri(PHOTO, "image/png"),
        data_uri("red", ""),
        data_uri("red", "image/png;charset=utf-8"),
        data_uri("red").replace("data:", "DATA:"),
        data_uri(encoded("red", kind="WEBP"), "application/octet-stream"),
    ],
)
def test_the_content_decides_what_an_image_is(client, uri):
    done = client.post(CHAT, json=asked("x", uri))
    assert done.status_code == 200 and "|Question: x Answer:" in done.text


def test_nothing_is_fetched(client):
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.settimeout(0.2)
        url = f"http://127.0.0.1:{trap.getsockname()[1]}/cat.png"
        part = {"type": "image_url", "image_url": {"url": url}}
        assert client.post(CHAT, json={"messages": [{"role": "user", "content": [part]}]}).status_code == 400
        assert client.post("/v1/embeddings", json={"input": url}).status_code == 200  # just a text
        with pytest.raises(TimeoutError):
            trap.accept()


def test_too_many_images_are_refused_before_one_is_decoded(serving):
    model = Looker()
    with serving(model) as client:
        assert client.post(CHAT, json=asked("x", *["red"] * 8)).status_code == 200
        done = client.post(CHAT, json=asked("x", *[b"broken"] * 9))
    assert done.status_code == 400 and "limit is 8" in done.text and len(model.calls) == 1
