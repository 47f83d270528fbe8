"""What docs/serving.md says is so: its examples run, its limits are the limits."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from toys.served import HOST, encoded

from mmbridge.data.images import MAX_PIXELS
from mmbridge.serve.asked import MAX_MARKS
from mmbridge.serve.limits import Limits

DOCS = (Path(__file__).parents[3] / "docs" / "serving.md").read_text()


@pytest.fixture
def example(port, tmp_path, monkeypatch):
    """Give an example of a language as text, for the server that runs, in a folder with a photo."""
    monkeypatch.chdir(tmp_path)
    Path("photo.png").write_bytes(encoded("#a0b0c0"))

    def find(language, holding):
        blocks = re.findall(rf"```{language}\n(.*?)```", DOCS, re.DOTALL)
        (block,) = [block for block in blocks if holding in block]
        return block.replace(HOST, f"http://127.0.0.1:{port}").replace("blip2_tiny_opt", "looker")

    return find


def test_the_python_example(example, capsys):
    pytest.importorskip("openai")
    names = {}
    exec(compile(example("python", "OpenAI"), "docs/serving.md", "exec"), names)
    assert capsys.readouterr().out == "#a0b0c0|Question: what is in the picture? Answer:\n"
    assert len(names["vectors"]) == 2


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("base64")), reason="needs curl and base64")
def test_the_curl_example(example):
    command = example("console", "curl").removeprefix("$ ")
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert '"content":"#a0b0c0|Question: what color is the background? Answer:"' in done.stdout, done.stderr


def test_the_limits():
    table = dict(re.findall(r"^\| (.*?) \| (.*?) \|", DOCS.partition("## Limits")[2], re.MULTILINE))
    numbers = [float(number.replace(",", "")) for row in table.values() for number in re.findall(r"\d[\d,]*", row)]
    limits = Limits()
    assert numbers == [
        limits.body_bytes / 1e6, limits.held_bytes / 1e6, MAX_MARKS, MAX_PIXELS // 1e6, limits.images, limits.inputs,
        limits.characters, limits.messages, limits.new_tokens, limits.beams, limits.waiting, limits.connections,
        limits.header_seconds, limits.body_seconds,
    ]  # fmt: skip
