"""Do the parts of a recipe fit together? Answered by traits, before torch is imported."""

from collections.abc import Iterable, Mapping
from typing import Any

from mmbridge_registry import DECODER, ENCODER_DECODER, GENERATES, Catalog, Offer
from mmbridge_registry.catalog import did_you_mean
from mmbridge_registry.kinds import OBJECTIVE, TRAITS, Kind

from mmbridge.config.places import KeyPath, Problems
from mmbridge.config.sections import MODEL_PARTS
from mmbridge.recipe import IMPORTED, Chosen, Evaluate, ModelRecipe, Stage

WRITES = {DECODER, ENCODER_DECODER, GENERATES}
"""Traits of objectives whose loss reaches the language model, and the projection before it."""


class Fitting:
    """Notes in `problems` what does not fit."""

    def __init__(self, values: Mapping[str, Any], model: ModelRecipe, catalog: Catalog, problems: Problems) -> None:
        self.values, self.model, self.catalog, self.problems = values, model, catalog, problems
        self.parts = model.parts()
        self.provided = {trait for part in self.parts.values() for trait in part.offer.provides}
        if model.language_model is not None:
            self.provided.add(GENERATES)

    def stage(self, name: str, stage: Stage) -> None:
        """Check what a stage trains, its objectives, its batch and its data against the rest of the recipe."""
        path = ("stages", name)
        for key, objective in stage.objectives.items():
            self._requires(objective, f"in stage '{name}'", (*path, "objectives", key))
        for part in dict.fromkeys(stage.train):
            self._trains(part, stage, (*path, "train"))
        if not stage.train:
            self.problems.add((*path, "train"), "this stage trains nothing.", "Name parts: train: [bridge].")
        if stage.batch_size % (stage.micro_batch_size or stage.batch_size):
            what = f"batch_size {stage.batch_size} is not divisible by micro_batch_size {stage.micro_batch_size}."
            self.problems.add((*path, "micro_batch_size"), what)
        self._names(stage.data or {}, "data", (*path, "data"))

    def evaluation(self, name: str, evaluate: Evaluate) -> None:
        """Check that an evaluation's stages exist and that the model can do what it asks."""
        self._requires(evaluate.evaluation, "", ("evaluate", name))
        self._names(evaluate.stages, "stages", ("evaluate", name, "stages"))

    def _names(self, names: Iterable[str], section: str, path: KeyPath) -> None:
        known = list(self.values.get(section) or ([IMPORTED] if section == "stages" else ()))
        for index, name in enumerate(names):
            if name not in known:
                inner = (*path, name) if (*path, name) in self.problems.places else (*path, str(index))
                self.problems.add(inner, f"there is no '{name}' in `{section}:`{did_you_mean(name, known)}")

    def _trains(self, part: str, stage: Stage, path: KeyPath) -> None:
        if part in ("projection", "language_model"):
            if self.model.language_model is None:
                self.problems.add(path, f"there is no {part} to train: the model has no language model.")
            elif not any(objective.offer.requires & WRITES for objective in stage.objectives.values()):
                known = ", ".join(offer.name for offer in self._objectives(WRITES)) or "none"
                what = f"no objective of this stage reaches the {part}."
                self.problems.add(path, what, f"Leave it out of `train`, or add one of: {known}.")
        elif part == "vision_encoder" and self.values.get("features"):
            what = "this stage trains the vision_encoder, whose features are written beforehand (`features:`)."
            self.problems.add(path, what, "Leave it out of `train`, or remove the section: ~features.")

    def _requires(self, part: Chosen, inside: str, path: KeyPath) -> None:
        for trait in sorted(part.offer.requires - self.provided):
            kind, has = self._owner(trait)
            who = " ".join(filter(None, (f"{part.offer.kind.title} '{part.offer.name}'", inside)))
            what = f"{who} needs {TRAITS.get(trait, trait)}, but the model {has}."
            remedies = [f"{offer.name}" for offer in self.catalog.offers() if trait in offer.provides]
            options = [f"a {kind.title} that has it ({', '.join(remedies)})"] if kind and remedies else []
            if part.offer.kind == OBJECTIVE and (others := self._instead(kind)):
                options.insert(0, f"the objective {' or '.join(others)}")
            self.problems.add(path, what, f"Use {', or '.join(options)}." if options else None)

    def _owner(self, trait: str) -> tuple[Kind | None, str]:
        """Give the kind of part that could have the trait, and what this model has in its place."""
        kinds = {offer.kind.name: offer.kind for offer in self.catalog.offers() if trait in offer.provides}
        if trait in WRITES:
            kinds = {"language_model": MODEL_PARTS["language_model"]}
        for name, kind in kinds.items():
            chosen = self.parts.get(name)
            if chosen is None:
                return kind, f"has no {kind.title}"
            kinds_of = [TRAITS.get(has, has).partition(" (")[0] for has in sorted(chosen.offer.provides - {GENERATES})]
            return kind, f"has '{chosen.offer.name}'" + (f", {' and '.join(kinds_of)}" if kinds_of else "")
        return None, "has none"

    def _instead(self, kind: Kind | None) -> list[str]:
        """Name objectives that the model's own part of that kind is made for."""
        chosen = self.parts.get(kind.name) if kind else None
        return [offer.name for offer in self._objectives(chosen.offer.provides if chosen else ())]

    def _objectives(self, traits: Iterable[str]) -> list[Offer]:
        """Give objectives that need one of `traits` and fit the model."""
        objectives = (offer for offer in self.catalog.offers() if offer.kind == OBJECTIVE)
        return [offer for offer in objectives if offer.requires <= self.provided and offer.requires & set(traits)]
