"""Doctor: examine plugins one by one, each in a process of its own, so that none can harm or stall another."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from mmbridge_registry import Plugin
from mmbridge_registry.discovery import ALLOW_LIST, discover

PROBE = "from mmbridge.doctor import probe; probe()"
MARK = "mmbridge-doctor "


@dataclass(frozen=True)
class Diagnosis:
    """What was found out about one plugin; `failure` is None for a healthy one."""

    plugin: str
    distribution: str
    version: str
    parts: Sequence[str] = ()
    hooks: Sequence[str] = ()
    seconds: float | None = None
    """Time to import it and to learn its parts."""
    torch_free: bool | None = None
    """Whether it could be imported without torch, as command lines want it."""
    failure: str | None = None


def examine(plugin: Plugin, limit: float = 60.0) -> Diagnosis:
    """Load a plugin in a fresh interpreter that gets `limit` seconds."""
    known = (plugin.name, plugin.distribution, plugin.version)
    environment = {**os.environ, ALLOW_LIST: plugin.name}
    try:
        done = subprocess.run(
            [sys.executable, "-c", PROBE], env=environment, capture_output=True, text=True, timeout=limit, check=False
        )
    except subprocess.TimeoutExpired:
        return Diagnosis(*known, failure=f"not loaded after {limit:g} s")
    for line in done.stdout.splitlines():
        if line.startswith(MARK) and done.returncode == 0:
            return Diagnosis(*known, **json.loads(line.removeprefix(MARK)))
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    return Diagnosis(*known, failure=f"its process ended with status {done.returncode}: {last}")


def probe() -> None:
    """Load what the allow-list in the environment admits, and print what was found as JSON."""
    before = perf_counter()
    found = discover()
    modules = found.hooks.get_plugins()
    result: dict[str, Any] = {
        "parts": [f"{offer.kind.name}: {offer.name}" for offer in found.catalog.offers()],
        "hooks": sorted({hook.name for module in modules for hook in found.hooks.get_hookcallers(module) or ()}),
        "seconds": round(perf_counter() - before, 3),
        "torch_free": "torch" not in sys.modules,
        "failure": found.broken[0].cause if found.broken else None,
    }
    print(MARK + json.dumps(result), flush=True)
