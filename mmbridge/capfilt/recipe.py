"""The config of CapFilt: a data set, who captions, who scores, and what is kept. Torch-free."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mmbridge_registry import CAPTIONER, DATASET, SCORER, Options
from mmbridge_registry.catalog import did_you_mean
from mmbridge_registry.discovery import Discovered
from pydantic import NonNegativeInt, PositiveInt

from mmbridge.config.checking import check
from mmbridge.config.choosing import choose
from mmbridge.config.places import Problems
from mmbridge.config.shipped import find_config
from mmbridge.config.values import read_values, read_yaml
from mmbridge.recipe import Chosen

PARTS = {"data": DATASET, "captioner": CAPTIONER, "scorer": SCORER}


class Settings(Options):
    """What a CapFilt config says beside its parts."""

    output: Path
    """Folder of the shards."""
    captions: PositiveInt = 10
    """Captions that are made of each image (k)."""
    keep: PositiveInt = 2
    """Captions that are kept of each image, the web's own among them if it is one of the best."""
    records_per_shard: PositiveInt = 1000
    """Records of a shard; what is written is written by whole shards."""
    batch_size: PositiveInt = 32
    """Images that are captioned at once."""
    seed: NonNegativeInt = 0
    """Every caption is a function of this."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes a GPU if there is one."""


FREE = ("output", "device")
"""What may be another when a pipeline goes on."""


@dataclass(frozen=True)
class CapFilt:
    """A pipeline as its YAML declares it."""

    source: Path
    data: Chosen
    captioner: Chosen
    scorer: Chosen
    settings: Settings

    def parts(self) -> list[Chosen]:
        """Give the parts that plugins build."""
        return [self.data, self.captioner, self.scorer]

    @property
    def key(self) -> dict[str, Any]:
        """Everything that the shards are a function of, flat, by the names that the config has for it."""
        parts = {name: getattr(self, name) for name in PARTS}
        flat = {f"{name}.name": part.offer.name for name, part in parts.items()}
        for name, part in parts.items():
            flat |= {f"{name}.{key}": value for key, value in part.options.model_dump(mode="json").items()}
        return flat | {key: value for key, value in self.settings.model_dump(mode="json").items() if key not in FREE}


def is_capfilt(config: str | Path) -> bool:
    """Say whether a config is one of CapFilt and not a run's."""
    return "captioner" in read_yaml(find_config(config))


def load_capfilt(config: str | Path, overrides: Sequence[str], found: Discovered) -> CapFilt:
    """Read a config, put overrides onto it, check all of it. Does not import torch.

    Raises:
        UserError: no such config, or one that cannot be read at all.
        ConfigError: every mistake in it, a line each with file, line and key.
    """
    problems = Problems()
    source, values = read_values(config, overrides, problems)
    known = (*PARTS, *Settings.model_fields)
    for key in (key for key in values if key not in known):
        problems.add((key,), f"a CapFilt config has no key '{key}'{did_you_mean(key, ('base', *known))}")
    parts: dict[str, Chosen | None] = {}
    for name, kind in PARTS.items():
        if values.get(name) is None:
            problems.add((name,), f"CapFilt needs a {kind.title}.", f"Write {name}: {{name: ...}}.")
        else:
            parts[name] = choose(kind, values[name], (name,), found, problems)
    ours = {key: value for key, value in values.items() if key in Settings.model_fields}
    settings = check(Settings, ours, (), problems, "CapFilt", PARTS)
    if settings and settings.keep > settings.captions + 1:
        problems.add(("keep",), f"{settings.keep} captions cannot be kept of {settings.captions} and the web's one.")
    problems.stop_if_any()
    chosen = {name: part for name, part in parts.items() if part}
    assert settings is not None and len(chosen) == len(PARTS)  # else there were problems
    return CapFilt(source, settings=settings, **chosen)
