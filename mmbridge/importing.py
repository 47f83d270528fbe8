"""Import: from a checkpoint of another project to a folder that is loaded, evaluated and started from as a run is."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from mmbridge_registry import FORMAT, Bridge, Format, Imported, UserError
from mmbridge_registry.annotated import cache_folder
from mmbridge_registry.discovery import Discovered
from torch import Tensor

from mmbridge import checkpoint
from mmbridge.checkpoint import Snapshot
from mmbridge.config import as_yaml, load_recipe
from mmbridge.config.overrides import override
from mmbridge.config.places import Problems
from mmbridge.outline import outline
from mmbridge.recipe import IMPORTED, Recipe
from mmbridge.run_directory import RunDirectory
from mmbridge.tower_folders import copy_tokenizer, write_tower


@dataclass(frozen=True)
class ImportReport:
    """What became of every tensor of a source; `import.json` holds the same."""

    source: str
    title: str
    taken: int
    """Tensors that found their place."""
    renamed: Mapping[str, str]
    """Name in the source -> name of the same part in its published layout."""
    missing: tuple[str, ...]
    """What the model has and the source has not, by our names."""
    unused: tuple[str, ...]
    """What the source has and the model has not."""
    notes: tuple[str, ...]


def import_checkpoint(source: Path, out: Path, overrides: Sequence[str], found: Discovered) -> ImportReport:
    """Write `out` from a file or folder of a known format; it is there whole or not at all.

    `overrides` set keys of the model that the source cannot know (`model.language_model.weights=...`).

    Raises:
        UserError: nobody knows the format, the source is damaged, a weight that it does not hold is not named, or
            `out` exists.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError("it exists already.", where=out, do="Choose another --out.")
    imported = recognised(source, found).read(source)
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as scratch:
        partial = Path(scratch) / out.name
        partial.mkdir()
        report = _fill(partial, source, imported, overrides, found)
        partial.rename(out)
    return report


def recognised(source: Path, found: Discovered) -> Format:
    """Find the format of a source.

    Raises:
        UserError: it is not there, or no plugin knows it.
    """
    if not source.exists():
        raise UserError("there is no such file or folder.", where=source)
    offers = [offer for offer in found.catalog.offers() if offer.kind == FORMAT]
    for offer in offers:
        known: Format = offer.build(offer.options())
        if known.recognises(source):
            return known
    names = ", ".join(offer.name for offer in offers) or "none"
    raise UserError("no checkpoint format is recognised here.", where=source, do=f"Known formats: {names}.")


def cached(source: Path, found: Discovered) -> Path:
    """Import into the user's cache, once for each state of the source, and give the folder."""
    out = cache_folder() / IMPORTED / f"{source.name}-{_fingerprint(source)}"
    if not out.exists():
        import_checkpoint(source, out, [], found)
    return out


def _fill(folder: Path, source: Path, imported: Imported, overrides: Sequence[str], found: Discovered) -> ImportReport:
    directory = RunDirectory(folder)
    model = {key: dict(part) for key, part in imported.model.items()}
    for key, tower in imported.towers.items():
        write_tower(tower, folder / "weights" / key)
        model[key]["weights"] = f"./weights/{key}"
    if imported.tokenizer is not None:
        copy_tokenizer(imported.tokenizer, folder / "weights" / "bridge")
        model["bridge"]["tokenizer"] = "./weights/bridge"
    values = override({"model": model}, [_absolute(text) for text in overrides], Problems())
    for part, option in ((part, option) for part, section in values["model"].items() for option in section):
        if values["model"][part][option] is None:
            raise UserError(
                f"{imported.title} does not say what {option} of the {part.replace('_', ' ')} is.",
                where=source,
                do=f"Name it: model.{part}.{option}=...",
            )
    directory.resolved.write_text(as_yaml(values | {"data": {}, "stages": {}}))
    tensors, lacks = _named(imported, load_recipe(directory.resolved, [], found), source, found)
    state: dict[str, Any] = {"stage": IMPORTED, "step": 0, "lacks": lacks}
    if imported.projection:
        # It was last trained to speak: the queries have moved on from a text half that may have come along.
        state["in_step"] = ["image"]
    checkpoint.write(directory.checkpoints(IMPORTED), Snapshot.of(tensors, state), keep=1)
    report = ImportReport(
        str(source), imported.title, len(imported.renamed), imported.renamed, tuple(lacks), imported.unused,
        imported.notes,
    )  # fmt: skip
    (folder / "import.json").write_text(json.dumps(vars(report), indent=1))
    return report


def _named(imported: Imported, recipe: Recipe, source: Path, found: Discovered) -> tuple[dict[str, Tensor], list[str]]:
    """Give what was imported our names, and name what is missing; shapes are checked against the model's own."""
    parts = outline(recipe, found.catalog)
    bridge = cast(Bridge, parts["bridge"])
    published = bridge.published()
    if published is None:
        do = "Leave model.bridge.name as it was recognised."
        raise UserError("this bridge has no published layout that tensors could be put into.", where=source, do=do)
    ours = {id(tensor): name for name, tensor in bridge.named_parameters()}
    places = {name: (f"bridge.{ours[id(tensor)]}", tensor) for name, tensor in published.tensors.items()}
    if "projection" in parts:
        places |= {f"projection.{key}": (f"projection.{key}", p) for key, p in parts["projection"].named_parameters()}
    given = dict(imported.bridge) | {f"projection.{key}": tensor for key, tensor in imported.projection.items()}
    for name, tensor in given.items():
        if name not in places:
            raise UserError(f"the model has no place for {name}.", where=source, do="Check the overrides.")
        if tensor.shape != places[name][1].shape:
            raise UserError(
                f"{name} has shape {list(tensor.shape)}, but the model wants {list(places[name][1].shape)}.",
                where=source,
                do="Encoder, bridge and language model must be those that it was trained with.",
            )
    return (
        {places[name][0]: tensor for name, tensor in given.items()},
        sorted(place for name, (place, _) in places.items() if name not in given),
    )


def _absolute(text: str) -> str:
    """Make the path in an override absolute, if it is one: the folder is read from elsewhere later."""
    key, is_setting, value = text.partition("=")
    return f"{key}={Path(value).absolute()}" if is_setting and value and Path(value).exists() else text


def _fingerprint(source: Path) -> str:
    """Tell states of a source apart without reading tensors: names, sizes and times of its files."""
    files: Iterable[Path] = sorted(source.rglob("*")) if source.is_dir() else [source]
    facts: list[Any] = [str(source.absolute())]
    facts += [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
