"""`mmbridge serve`: what it refuses before it loads anything, and a run that it serves."""

import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from json import dumps, loads

import pytest
from mmbridge_registry import Generation
from toys.served import asked, encoded

from mmbridge.cli import main

CHILD = """
import sys
from mmbridge.cli import main
sys.modules.update({name: None for name in sys.argv.pop(1).split(",") if name})
try:
    main(sys.argv[1:])
except SystemExit as done:
    print(f"status={done.code} torch={'torch' in sys.modules}")
"""


def fresh(*arguments, missing="", **environment):
    """Carry out a command in a fresh interpreter; give what it printed and what it complained of."""
    command = [sys.executable, "-c", CHILD, missing, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)
    return done.stdout.splitlines()[-1], done.stderr


def test_help_says_what_there_is():
    status, _ = fresh("serve", "--help")
    assert status == "status=0 torch=False"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.com", "127.0.0.1.example.com", ""])
@pytest.mark.parametrize("token", [None, ""])
def test_a_host_that_others_can_reach_needs_a_token(host, token, monkeypatch, capsys):
    monkeypatch.delenv("MMBRIDGE_TOKEN", raising=False)
    with pytest.raises(SystemExit) as done:
        main(["serve", "runs/x", "--host", host, *([] if token is None else ["--token", token])])
    said = capsys.readouterr().err
    assert done.value.code == 2 and "MMBRIDGE_TOKEN" in said and said.count("\n") == 1


def test_a_taken_port_is_said_before_anything_is_loaded():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        status, said = fresh("serve", "runs/x", "--port", port)
    assert status == "status=2 torch=False" and f"--port {port}" in said and "in use" in said and said.count("\n") == 1


@pytest.mark.parametrize("missing", ["starlette", "uvicorn"])
def test_the_missing_extra_is_named(missing):
    status, said = fresh("serve", "runs/x", missing=missing)
    assert status == "status=2 torch=False" and "pip install 'mmbridge[serve]'" in said and said.count("\n") == 1


def test_what_is_no_run_is_said_in_one_line(tmp_path):
    status, said = fresh("serve", str(tmp_path), "--port", "0")
    assert status.startswith("status=2") and str(tmp_path) in said and said.count("\n") == 1


@contextmanager
def served(run, *options, **environment):
    """Serve a run by the command line; give its process and port."""
    command = [sys.executable, "-m", "mmbridge", "serve", str(run), "--port", "0", *options]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | environment
    )
    try:
        line = process.stdout.readline()
        assert line.startswith(f"serving {run.name} at http://127.0.0.1:"), line or process.stderr.read()
        yield process, int(line.split(":")[2].split()[0])
    finally:
        process.kill()
        process.communicate()


def post(port, path, body, token):
    connection = HTTPConnection("127.0.0.1", port, timeout=120)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    connection.request("POST", path, dumps(body), headers)
    response = connection.getresponse()
    answer = response.status, loads(response.read())
    connection.close()
    return answer


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Give a run of both stages, of two steps each."""
    folder = tmp_path_factory.mktemp("served")
    overrides = (
        "~evaluate", "run.threads=1", "run.workers=0", "run.name=tiny", "stages.representation.steps=2",
        "stages.generation.steps=2", "stages.representation.batch_size=4", "stages.generation.batch_size=4",
    )  # fmt: skip
    command = [sys.executable, "-m", "mmbridge", "run", "blip2_tiny_opt", *overrides]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "runs" / "tiny"


@pytest.mark.slow
def test_a_run_answers_a_hundred_at_once_as_it_does_alone(run):
    import torch

    import mmbridge

    torch.set_num_threads(1)
    model = mmbridge.load(run)
    pictures = [encoded(f"#{number * 167_000:06x}", (64, 64)) for number in range(100)]
    words = ["", "What color is the square?", "Question: how many? Answer:"]
    prompts = ["", "Question: what color is the square? Answer:", "Question: how many? Answer:"]
    alone = [
        model.complete([[picture]], [prompts[number % 3]], Generation(max_new_tokens=6))[0]
        for number, picture in enumerate(pictures)
    ]
    with served(run, MMBRIDGE_TOKEN="secret") as (process, port), ThreadPoolExecutor(100) as threads:
        bodies = [asked(words[number % 3], picture, max_tokens=6) for number, picture in enumerate(pictures)]
        done = list(threads.map(lambda body: post(port, "/v1/chat/completions", body, "secret"), bodies))
        assert [status for status, _ in done] == [200] * 100
        assert [body["choices"][0]["message"]["content"] for _, body in done] == alone
        status, refused = post(port, "/v1/embeddings", {"input": ["a red circle", "a square"]}, "secret")
        assert status == 400 and "moved away from its text half" in refused["error"]["message"]
        assert post(port, "/v1/embeddings", {"input": "a"}, "wrong")[0] == 401
        assert post(port, "/v1/chat/completions", asked("x", *pictures[:3], max_tokens=3), "secret")[0] == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0 and process.stderr.read() == ""


@pytest.mark.slow
def test_a_stage_that_cannot_write_says_so_and_embeds(run):
    import torch

    import mmbridge

    with served(run, "--stage", "representation") as (_, port):
        status, body = post(port, "/v1/chat/completions", asked("x", "red"), "")
        assert status == 400 and "not trained" in body["error"]["message"]
        status, embedded = post(port, "/v1/embeddings", {"input": ["a red circle", "a square"]}, "")
        assert status == 200
        torch.testing.assert_close(
            torch.tensor([one["embedding"] for one in embedded["data"]]),
            mmbridge.load(run, "representation").embed_texts(["a red circle", "a square"]), atol=1e-5, rtol=0,
        )  # fmt: skip
