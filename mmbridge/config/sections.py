"""The sections of a config, from plain values to the pages of a recipe."""

import re
from collections.abc import Iterable
from typing import Any

from mmbridge_registry import BRIDGE, DATASET, EVALUATION, LANGUAGE_MODEL, OBJECTIVE, TRACKER, VISION_ENCODER
from mmbridge_registry.catalog import did_you_mean
from mmbridge_registry.discovery import Discovered
from mmbridge_registry.kinds import Kind

from mmbridge.config.cards import by_card, compared
from mmbridge.config.checking import check
from mmbridge.config.choosing import choose
from mmbridge.config.places import KeyPath, Problems
from mmbridge.recipe import (
    Chosen,
    Data,
    DataSettings,
    Evaluate,
    EvaluateSettings,
    Features,
    ModelRecipe,
    Run,
    Stage,
    StageSettings,
)
from mmbridge.settings import Projection, Quantize

SECTIONS = ("model", "data", "features", "stages", "evaluate", "trackers", "run")
REQUIRED, TO_BE_RUN = ("model",), ("data", "stages")
"""Every config has a model; one that is to be run has stages and data too (an imported one may have neither)."""
MODEL_PARTS = {"vision_encoder": VISION_ENCODER, "bridge": BRIDGE, "language_model": LANGUAGE_MODEL}
# Names become directories, keys of metrics and paths of overrides.
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")


class Sections:
    """Reads the sections; what cannot be read is noted in `problems` and left out."""

    def __init__(self, values: dict[str, Any], found: Discovered, problems: Problems) -> None:
        self.values, self.found, self.problems = values, found, problems
        for key in values:
            if key not in SECTIONS:
                problems.add((key,), f"a config has no section '{key}'{did_you_mean(key, ('base', *SECTIONS))}")
        for key in (*REQUIRED, *(TO_BE_RUN if any(map(values.get, TO_BE_RUN)) else ())):
            if not values.get(key):
                problems.add((key,), f"a config needs the section '{key}'.")

    def model(self) -> ModelRecipe | None:
        """Read `model:`; None if a part of it could not be read."""
        section = self.problems.mapping(("model",), self.values.get("model")) or {}
        for key in section:
            if key not in ModelRecipe.model_fields:
                what = f"a model has no part '{key}'{did_you_mean(key, ModelRecipe.model_fields)}"
                self.problems.add(("model", key), what)
        projection = self._settings(Projection, section, "projection", "the projection")
        quantize = self._settings(Quantize, section, "quantize", "quantizing")
        parts: dict[str, Chosen | None] = {}
        for key, kind in MODEL_PARTS.items():
            if section.get(key) is not None:
                parts[key] = self._choose(kind, ("model", key), section[key])
            elif section and key != "language_model":
                self.problems.add(("model", key), f"a model needs a {kind.title}.")
        complete = (
            projection
            and quantize
            and parts.get("vision_encoder")
            and parts.get("bridge")
            and None not in parts.values()
        )
        return (
            ModelRecipe.model_validate({**parts, "projection": projection, "quantize": quantize}) if complete else None
        )

    def data(self) -> dict[str, Data]:
        """Read `data:`."""
        data: dict[str, Data] = {}
        for name, path, entry in self._entries(("data",), self.values.get("data")):
            settings = self._ours(DataSettings, entry, path, "a data set")
            dataset = self._choose(DATASET, path, entry, name, DataSettings.model_fields)
            if settings and dataset:
                data[name] = Data(dataset, settings.weight)
        return data

    def features(self) -> Features | None:
        """Read `features:`; None if there is no such section."""
        section = self.problems.mapping(("features",), self.values.get("features"))
        return check(Features, section, ("features",), self.problems, "the section 'features'") if section else None

    def stages(self) -> dict[str, Stage]:
        """Read `stages:`, in order."""
        stages: dict[str, Stage] = {}
        for name, path, entry in self._entries(("stages",), self.values.get("stages")):
            objectives = self._objectives((*path, "objectives"), entry.pop("objectives", None))
            settings = check(StageSettings, entry, path, self.problems, "a stage", ["objectives"])
            if settings and objectives:
                stages[name] = Stage(objectives=objectives, **dict(settings))
        return stages

    def evaluate(self) -> dict[str, Evaluate]:
        """Read `evaluate:`."""
        evaluate: dict[str, Evaluate] = {}
        for name, path, own in self._entries(("evaluate",), self.values.get("evaluate")):
            entry, card = by_card(own, path, self.found, self.problems) if "card" in own else (own, None)
            if "card" in own and card is None:
                continue
            settings = self._ours(EvaluateSettings, entry, path, "an evaluation")
            dataset = None
            if entry.get("data") is None:
                self.problems.add((*path, "data"), "an evaluation needs 'data'.", "Name a data set: {name: ...}.")
            else:
                dataset = self._choose(DATASET, (*path, "data"), entry.pop("data"))
            evaluation = self._choose(EVALUATION, path, entry, name, [*EvaluateSettings.model_fields, "card", "data"])
            if settings and dataset and evaluation:
                against = card and compared(card, evaluation, dataset, self.found)
                evaluate[name] = Evaluate(
                    evaluation, dataset, settings.stages, settings.every, settings.shuffled, against
                )
        return evaluate

    def trackers(self) -> dict[str, Chosen]:
        """Read `trackers:`."""
        entries = self._entries(("trackers",), self.values.get("trackers"))
        trackers = {name: self._choose(TRACKER, path, entry, name) for name, path, entry in entries}
        return {name: tracker for name, tracker in trackers.items() if tracker}

    def run(self, default_name: str) -> Run | None:
        """Read `run:`; a run without a name takes its config's."""
        section = self.problems.mapping(("run",), self.values.get("run"))
        run = None if section is None else check(Run, section, ("run",), self.problems, "a run")
        return run and (run if run.name else run.model_copy(update={"name": default_name}))

    def _settings(self, settings: type[Any], section: dict[str, Any], key: str, owner: str) -> Any:
        entry = self.problems.mapping(("model", key), section.get(key))
        return None if entry is None else check(settings, entry, ("model", key), self.problems, owner)

    def _objectives(self, path: KeyPath, section: Any) -> dict[str, Chosen]:
        if not section:
            self.problems.add(path, "a stage needs at least one objective.")
        objectives = {
            name: self._choose(OBJECTIVE, inner, entry, name) for name, inner, entry in self._entries(path, section)
        }
        return {name: objective for name, objective in objectives.items() if objective}

    def _entries(self, path: KeyPath, section: Any) -> Iterable[tuple[str, KeyPath, dict[str, Any]]]:
        for name, value in (self.problems.mapping(path, section) or {}).items():
            if not NAME.fullmatch(name):
                self.problems.add((*path, name), f"'{name}' cannot be a name.", "Use letters, digits, _ and -.")
            entry = self.problems.mapping((*path, name), value)
            if entry is not None:
                yield name, (*path, name), entry

    def _ours(self, settings: type[Any], entry: dict[str, Any], path: KeyPath, owner: str) -> Any:
        ours = {key: entry.pop(key) for key in settings.model_fields if key in entry}
        return check(settings, ours, path, self.problems, owner)

    def _choose(
        self, kind: Kind, path: KeyPath, entry: Any, default: str | None = None, ours: Iterable[str] = ()
    ) -> Chosen | None:
        return choose(kind, entry, path, self.found, self.problems, default, ours)
