"""Who may come in: host, token, and what browsers are told."""

import re

import pytest
from toys.served import asked

CHAT = "/v1/chat/completions"
TOKEN = "café-Secret-123"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8000", "localhost:80", "LOCALHOST", "[::1]:8000", "[::1]"])
def test_this_machines_names_are_known(client, host):
    assert client.get("/v1/models", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.com", "127.0.0.1.evil.com", "localhost.evil.com:8000", "evil.com:127.0.0.1", "", "[::1", "user@127.0.0.1@x",
     "0.0.0.0"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/", "/v1/models", "/healthz"])
def test_a_name_that_was_rebound_to_this_machine_is_refused(client, host, path):
    done = client.get(path, headers={"host": host})
    assert done.status_code == 403 and done.json()["error"]["code"] == "invalid_host"


def test_the_token_opens(serving):
    with serving(token=TOKEN) as client:
        for scheme in ("Bearer", "bearer"):
            right = {"authorization": f"{scheme} {TOKEN}".encode()}
            assert client.post(CHAT, json=asked("x", "red"), headers=right).status_code == 200


@pytest.mark.parametrize(
    "given",
    [None, "", TOKEN, "Bearer", "Bearer ", f"Basic {TOKEN}", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", "Bearer None"],
)  # fmt: skip
def test_without_the_token_nobody_comes_in(serving, given):
    with serving(token=TOKEN) as client:
        headers = {} if given is None else {"authorization": given.encode()}
        for path in ("/v1/models", "/v1/nothing", CHAT):
            done = client.get(path, headers=headers)
            assert done.status_code == 401 and done.json()["error"]["code"] == "invalid_api_key"
            assert TOKEN not in done.text and done.headers["www-authenticate"] == "Bearer"
        assert client.get("/").status_code == client.get("/healthz").status_code == 200


def test_browsers_are_told_to_load_nothing_from_elsewhere(client):
    for path in ("/", "/page.js", "/v1/models", "/nothing"):
        headers = client.get(path, headers={"origin": "https://evil.com"}).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy and "*" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert not [name for name in headers if name.startswith("access-control")]


def test_the_page_names_no_other_host(client):
    text = "".join(client.get(path).text for path in ("/", "/page.css", "/page.js"))
    assert re.findall(r"https?://[^\s\"'<]+", text) == []
    assert not re.search(r"\son\w+=|style=|<script>|innerHTML|eval\(", text)
