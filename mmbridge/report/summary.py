"""The summary: what the run was made of, how far it came, how long it took."""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from mmbridge.figures import count, parameters
from mmbridge.report.reading import RunRecord

ROLES = {"vision_encoder": "vision encoder", "bridge": "bridge", "language_model": "language model"}
FIRST, SPAN, DECK, TOP = 150, 340, 118, 22
"""Geometry of the drawing: the left pylon, the distance to the right one, the deck, the pylons' tops."""


@dataclass(frozen=True)
class Part:
    """A part of the model, for the drawing's legend."""

    role: str
    name: str
    detail: str
    trained_in: tuple[str, ...]
    """Stages that train it; empty if it stays frozen."""


@dataclass(frozen=True)
class StageSummary:
    """How far a stage came."""

    name: str
    train: tuple[str, ...]
    objectives: tuple[str, ...]
    done: int
    steps: int
    batch_size: int
    seconds: float
    trained: str
    """Parameters trained, as its checkpoint counts them; empty without a checkpoint."""


@dataclass(frozen=True)
class BridgeFigure:
    """The drawing: two pylons, a cable, and one hanger per query."""

    trained: bool
    language_model: bool
    hangers: tuple[tuple[float, float], ...]
    """Pixels: across, and down to the cable."""
    queries: int | None


def parts(record: RunRecord) -> list[Part]:
    """List the parts that the config names."""
    model = record.resolved["model"]
    return [
        Part(title, model[role]["name"], _detail(model[role]), _training(record, role))
        for role, title in ROLES.items()
        if model.get(role)
    ]


def bridge_figure(record: RunRecord) -> BridgeFigure:
    """Draw the bridge; each hanger is a query, as far as the config tells their number."""
    model = record.resolved["model"]
    queries = model["bridge"].get("queries")
    hangers = []
    for number in range(min(queries or 12, 64)):
        along = (number + 1) / (min(queries or 12, 64) + 1)
        sag = TOP + (DECK - TOP - 12) * 4 * along * (1 - along)
        hangers.append((round(FIRST + SPAN * along, 1), round(sag, 1)))
    return BridgeFigure(bool(_training(record, "bridge")), bool(model.get("language_model")), tuple(hangers), queries)


def stages(record: RunRecord) -> list[StageSummary]:
    """Summarise every stage of the config."""
    return [_stage(record, name, stage) for name, stage in record.resolved["stages"].items()]


def took(record: RunRecord) -> float:
    """Seconds that all steps took together, evaluations not counted."""
    return sum(stage.seconds for stage in stages(record))


def facts(record: RunRecord) -> dict[str, str]:
    """Tell in a few words what the run was: images seen, seed, machine, versions, commit."""
    host, packages = record.lock.get("host") or {}, record.lock.get("packages") or {}
    seen, ranks = sum(stage.done * stage.batch_size for stage in stages(record)), host.get("ranks")
    told = {
        "images read": count(seen) if seen else "",
        "seed": str(record.lock.get("seed", "")),
        "device": f"{ranks} × {host.get('device')}" if ranks else "",
        "torch": packages.get("torch", ""),
        "commit": _short(record.lock.get("git") or ""),
    }
    return {title: value for title, value in told.items() if value}


def _short(commit: str) -> str:
    name, *dirty = commit.split("-", 1)
    return "-".join((name[:10], *dirty))


def _stage(record: RunRecord, name: str, stage: Mapping[str, Any]) -> StageSummary:
    lines = record.lines.get(name, [])
    seconds, before = 0.0, 0
    for line in lines:  # a line's `seconds` is the mean since the line before
        seconds += line.get("seconds", 0.0) * (line["step"] - before)
        before = line["step"]
    return StageSummary(
        name=name,
        train=tuple(stage["train"]),
        objectives=tuple(stage["objectives"]),
        done=before,
        steps=stage["steps"],
        batch_size=stage["batch_size"],
        seconds=seconds,
        trained=_trained(record.directory.checkpoints(name)),
    )


def _training(record: RunRecord, role: str) -> tuple[str, ...]:
    return tuple(name for name, stage in record.resolved["stages"].items() if role in stage["train"])


def _detail(part: Mapping[str, Any]) -> str:
    source = part.get("weights") or part.get("init") or ""
    queries = f"{part['queries']} queries" if part.get("queries") else ""
    return ", ".join(word for word in (str(source), queries) if word)


def _trained(checkpoints: Path) -> str:
    """Count a stage's trained parameters by the optimizer's first moments, from the file's header alone."""
    files = sorted(checkpoints.glob("step-*[0-9]/optimizer.safetensors"))
    if not files:
        return ""
    with files[-1].open("rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    counted = sum(prod(tensor["shape"]) for name, tensor in header.items() if name.endswith("|exp_avg"))
    return parameters(counted)
