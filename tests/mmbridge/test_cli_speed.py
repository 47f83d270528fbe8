"""Commands that build nothing import no torch: in a fresh interpreter, with the real plugins."""

import subprocess
import sys
from pathlib import Path

import pytest

CHILD = """
import sys
from mmbridge.cli import main
try:
    main(sys.argv[1:])
except SystemExit as done:
    heavy = [name for name in ("torch", "transformers", "timm", "open_clip", "datasets") if name in sys.modules]
    print(f"status={done.code} heavy={heavy}")
"""


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--help"], 0),
        (["ls"], 0),
        (["validate", "blip2_tiny"], 0),
        (["show", "blip2_opt2.7b"], 0),
        (["plugins", "list"], 0),
        (["validate", "blip2_tiny", "model.bridge.querys=3"], 2),
        (["run", "blip2_opt2.7b", "model.bridge.init=no/such"], 2),
        (["evaluate", "--help"], 0),
        (["frobnicate"], 2),
    ],
)
def test_no_torch(arguments: list[str], status: int, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *arguments], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.stdout.splitlines()[-1] == f"status={status} heavy=[]", done.stderr
