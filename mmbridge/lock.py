"""The lock: everything beside the config that a run's result depends on, in `run.lock.json`."""

import json
import platform
import subprocess
import sys
from collections.abc import Mapping
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmbridge_registry import RANDOM, Catalog, Dataset, Plugin, UserError
from mmbridge_registry.discovery import Discovered

from mmbridge.config import as_yaml
from mmbridge.fingerprints import CONTENTS, TEXTS, of_code, of_files
from mmbridge.recipe import Recipe
from mmbridge.run_directory import flat
from mmbridge.weights import locate_all, repository

if TYPE_CHECKING:
    from mmbridge.engine import Engine

PACKAGES = ("mmbridge", "torch", "torchvision", "transformers", "tokenizers", "open_clip_torch", "timm", "datasets",
            "numpy", "pillow", "safetensors")  # fmt: skip
SERIOUS = ("weights", "data")
"""What may not change inside a run: the steps that are left would be those of another run."""
SUMMED_UP = {"code.": "the code of", "evaluate.": "the data of the evaluations"}
"""Sections of which names are said, and how."""


def facts_of(
    recipe: Recipe,
    found: Discovered,
    datasets: Mapping[str, Dataset],
    evaluated: Mapping[str, Dataset],
    here: "Engine",
) -> dict[str, Any]:
    """Say what a run depends on: `datasets` of its stages and those `evaluated`, by name. Large weights are read once.

    Raises:
        UserError: weights that are not here, or cannot be read.
    """
    return {
        "config": f"sha256 {sha256(as_yaml(recipe.resolved).encode()).hexdigest()}",
        "seed": recipe.run.seed,
        "python": platform.python_version(),
        "packages": {package: _version(package) for package in PACKAGES},
        "plugins": {plugin.name: f"{plugin.distribution} {plugin.version}" for plugin in found.plugins},
        "code": {"mmbridge": of_code(Path(__file__).parent)} | _code(recipe),
        "weights": _weights(recipe, found.catalog),
        "data": _contents(datasets),
        "evaluate": _contents(evaluated),
        "git": _commit(recipe.source.parent),
        "host": _host(here),
    }


def compare(before: Mapping[str, Any], now: Mapping[str, Any], where: Path) -> dict[str, Any]:
    """Give what has changed since a run began, as it was before, by key.

    Raises:
        UserError: weights or data have changed; the message names the first.
    """
    old, new = _comparable(before), _comparable(now)
    changed = [key for key in old if key in new and old[key] != new[key]]
    changed += [key for name in SERIOUS if name in before for key in old.keys() ^ new.keys() if key.startswith(name)]
    serious = sorted(key for key in changed if key.startswith(SERIOUS))
    if serious:
        key = serious[0]
        more = f" (and {len(serious) - 1} more)" if serious[1:] else ""
        raise UserError(
            f"this run began with {key} = {old.get(key)}, now it is {new.get(key)}{more}.",
            where=where,
            do="Put it back (a hub id as owner/name@commit), begin a new run (run.name=...), or remove run.lock.json "
            "if the change is meant.",
        )
    return {key: old[key] for key in changed}


def settle(path: Path, now: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
    """Compare with the lock of a run that goes on; give the lock to be written, and a line if something has changed.

    Raises:
        UserError: weights or data have changed, or the lock cannot be read.
    """
    try:
        before = json.loads(path.read_text()) if path.exists() else {}
    except ValueError as error:
        raise UserError(f"not readable ({error}).", where=path, do="Remove it.") from error
    changed = compare(before, now, path)
    earlier = [*before.get("earlier", []), *([changed] if changed else [])]
    said = _said(changed, flat(now))
    return {**now, **({"earlier": earlier} if earlier else {})}, f"changed since it began: {said}" if said else None


def _said(changed: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Tell in words what has changed; sums say nothing to a reader, so of code and evaluations there are names only."""
    said = [f"{key} {was} -> {now[key]}" for key, was in changed.items() if not key.startswith(tuple(SUMMED_UP))]
    for section, title in SUMMED_UP.items():
        names = dict.fromkeys(key.split(".")[1] for key in changed if key.startswith(section))
        said += [f"{title} {', '.join(names)}"] if names else []
    return "; ".join(said)


def _comparable(lock: Mapping[str, Any]) -> dict[str, Any]:
    # The config is compared by key elsewhere; where a run lies and how many ranks it has changes nothing.
    return flat({key: value for key, value in lock.items() if key not in ("config", "git", "host", "earlier")})


def _contents(datasets: Mapping[str, Dataset]) -> dict[str, Any]:
    return {name: {"records": len(one), "contents": dict(one.contents)} for name, one in datasets.items()}


def _weights(recipe: Recipe, catalog: Catalog) -> dict[str, dict[str, str]]:
    weights = {}
    for named, located in locate_all(recipe, catalog).items():
        if located == RANDOM:
            continue
        path = Path(located)
        name, origin = _origin(named, path, catalog)
        try:
            weights[name] = {"found": origin, "content": of_files(path, CONTENTS + TEXTS)}
        except OSError as error:
            raise UserError(f"these weights cannot be read ({error.strerror}).", where=path) from error
    return weights


def _origin(named: str, path: Path, catalog: Catalog) -> tuple[str, str]:
    """Give the name under which weights are always the same, and where they were: of a hub id, with its commit."""
    if catalog.shipped(named) == path:
        return named, "shipped by a plugin"
    if path.parent.name == "snapshots" and not Path(named).expanduser().exists():
        return f"{repository(named)}@{path.name}", "hub"
    return named, "file or folder"


def _code(recipe: Recipe) -> dict[str, str]:
    """Sum up the code of the plugins whose parts the recipe names."""
    used: dict[str, Plugin] = {part.offer.plugin.name: part.offer.plugin for part in recipe.parts()}
    modules = {name: sys.modules.get(plugin.module.partition(":")[0]) for name, plugin in used.items()}
    files = {name: getattr(module, "__file__", None) for name, module in modules.items()}
    return {name: of_code(Path(file).parent) for name, file in sorted(files.items()) if file}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _commit(folder: Path) -> str | None:
    """Give the commit of the git repository in which the config lies, `-dirty` if something is not committed."""
    describe = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--match=", "--exclude=*"]
    try:
        said = subprocess.run(describe, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return said.stdout.strip() or None if said.returncode == 0 else None


def _host(here: "Engine") -> dict[str, Any]:
    import torch

    on_gpu = here.device.type == "cuda"
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "ranks": here.collectives.world_size,
        "device": torch.cuda.get_device_name(here.device) if on_gpu else here.device.type,
        "cuda": torch.version.cuda if on_gpu else None,
    }
