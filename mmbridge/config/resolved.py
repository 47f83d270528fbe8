"""A recipe as plain values again, defaults included, and as YAML."""

from collections.abc import Mapping
from typing import Any

from omegaconf import OmegaConf

from mmbridge.recipe import Chosen, Data, Evaluate, Features, ModelRecipe, Run, Stage

SECRETS = {"token", "password", "passwd", "passphrase", "secret", "apikey", "api_key", "access_key", "secret_key"}
MASK = "***"


def resolved(
    model: ModelRecipe,
    data: Mapping[str, Data],
    stages: Mapping[str, Stage],
    evaluate: Mapping[str, Evaluate],
    run: Run,
    features: Features | None,
    trackers: Mapping[str, Chosen],
) -> dict[str, Any]:
    """Give the plain values that read as the same recipe; secrets are masked."""
    values = {
        "model": _model(model),
        "data": {name: {**_part(one.dataset), "weight": one.weight} for name, one in data.items()},
        "stages": {name: _stage(stage) for name, stage in stages.items()},
        "evaluate": {name: of_evaluation(one) for name, one in evaluate.items()},
        "run": run.model_dump(mode="json"),
    }
    if features is not None:
        values["features"] = features.model_dump(mode="json")
    if trackers:
        values["trackers"] = {name: _part(tracker) for name, tracker in trackers.items()}
    return masked(values)


def as_yaml(values: Mapping[str, Any]) -> str:
    """Write plain values as YAML that reads back as the same values."""
    return OmegaConf.to_yaml(OmegaConf.create(dict(values)))


def masked(value: Any, key: str = "") -> Any:
    """Replace what must not be published: texts under keys such as `token` or `db_password`."""
    if isinstance(value, dict):
        return {name: masked(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [masked(inner, key) for inner in value]
    words = key.lower().split("_")
    secret = not SECRETS.isdisjoint((words[-1], "_".join(words[-2:])))
    return MASK if secret and isinstance(value, str) and value else value


def _part(chosen: Chosen) -> dict[str, Any]:
    return {"name": chosen.offer.name, **chosen.options.model_dump(mode="json")}


def _model(model: ModelRecipe) -> dict[str, Any]:
    parts = {key: _part(part) for key, part in model.parts().items()}
    ours = {key: getattr(model, key).model_dump(mode="json") for key in ("projection", "quantize")}
    return {**parts, **ours}


def _stage(stage: Stage) -> dict[str, Any]:
    objectives = {name: _part(objective) for name, objective in stage.objectives.items()}
    return {**stage.model_dump(mode="json", exclude={"objectives"}), "objectives": objectives}


def of_evaluation(one: Evaluate) -> dict[str, Any]:
    """Give the plain values of an entry of `evaluate:`."""
    ours = {"stages": list(one.stages), "every": one.every, "shuffled": one.shuffled, "data": _part(one.dataset)}
    card = {"card": one.card.card.model_dump(mode="json")} if one.card else {}
    return {**_part(one.evaluation), **ours, **card}
