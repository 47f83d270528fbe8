"""Assemble: from the parts that a recipe names to one model."""

from collections.abc import Iterable

import torch
from mmbridge_registry import Bridge, Catalog, LanguageModel, Objective, UserError, VisionEncoder
from mmbridge_registry.bridge import Pass

from mmbridge.building import build
from mmbridge.model import BridgedModel
from mmbridge.quantizing import quantize
from mmbridge.recipe import Chosen, Recipe, Stage
from mmbridge.settings import Bits
from mmbridge.trainable import trainable_parameters


def assemble(recipe: Recipe, catalog: Catalog) -> BridgedModel:
    """Build the model of a recipe: every part by its own builder, widths handed from part to part.

    Tensors that are not loaded are drawn from the run's seed. All weights must be on this machine already.

    Raises:
        UserError: weights that are not here, a part that cannot be built, a dtype in which a part is not finite.
    """
    chosen = recipe.model
    encoder = assemble_encoder(recipe, catalog)
    bridge: Bridge = build(chosen.bridge, catalog, encoder_width=encoder.width)
    language_model: LanguageModel | None = chosen.language_model and build(chosen.language_model, catalog)
    if language_model is not None:
        _store(language_model, chosen.language_model, chosen.quantize.language_model)
    model = BridgedModel(encoder, bridge, language_model, chosen.projection.init)
    return model.requires_grad_(False).eval()


def assemble_encoder(recipe: Recipe, catalog: Catalog) -> VisionEncoder:
    """Build the vision encoder alone, frozen; random weights are those that the whole model has."""
    torch.manual_seed(recipe.run.seed)
    chosen = recipe.model
    encoder: VisionEncoder = build(chosen.vision_encoder, catalog)
    _store(encoder, chosen.vision_encoder, chosen.quantize.vision_encoder)
    return encoder.requires_grad_(False).eval()


def prepare_stage(model: BridgedModel, stage: Stage, catalog: Catalog) -> dict[str, Objective]:
    """Build a stage's objectives, and let gradients reach exactly what the stage trains."""
    objectives = {name: build(chosen, catalog) for name, chosen in stage.objectives.items()}
    model.requires_grad_(False)
    trained = trained_by(model, stage, objectives.values())
    for parameter in trained.values():
        parameter.requires_grad_(True)
    model.learned.update(trained)
    if "bridge" in stage.train:
        model.in_step = _passes(objectives.values())
    model.train()
    return objectives


def trained_by(model: BridgedModel, stage: Stage, objectives: Iterable[Objective]) -> dict[str, torch.nn.Parameter]:
    """Name the parameters of the model that a stage trains."""
    parts = {name: part for name, part in model.named_children() if part is not None}
    return trainable_parameters(parts, stage.train, _passes(objectives))


def _passes(objectives: Iterable[Objective]) -> frozenset[Pass]:
    return frozenset().union(*(objective.passes for objective in objectives))


def _store(tower: VisionEncoder | LanguageModel, chosen: Chosen | None, bits: Bits | None) -> None:
    """Refuse a dtype in which a tower is not finite; quantise its weights if the recipe says so."""
    unsafe = {parameter.dtype for parameter in tower.parameters()} - tower.safe_dtypes
    if unsafe:
        safe = ", ".join(sorted(str(safe).removeprefix("torch.") for safe in tower.safe_dtypes))
        kind = "language model" if isinstance(tower, LanguageModel) else "vision encoder"
        raise UserError(
            f"{str(unsafe.pop()).removeprefix('torch.')} is not safe for this {kind} (it overflows).",
            where=chosen and chosen.where,
            do=f"Choose dtype: {safe}.",
        )
    if bits is not None:
        quantize(tower, bits)
