"""Outline: a recipe's model on torch's meta device, names and shapes without tensors."""

import torch
from mmbridge_registry import RANDOM, Catalog, UserError
from torch import nn

from mmbridge.recipe import Chosen, Recipe
from mmbridge.weights import locate, weights_of


def outline(recipe: Recipe, catalog: Catalog) -> dict[str, nn.Module]:
    """Build the parts by key of the model. Weights need not be here: their architecture is enough.

    Raises:
        UserError: a part that cannot be built in this geometry.
    """
    model = recipe.model
    encoder = outlined(model.vision_encoder, catalog)
    bridge = outlined(model.bridge, catalog, encoder_width=encoder.width)
    parts = {"vision_encoder": encoder, "bridge": bridge}
    if model.language_model is not None:
        language_model = outlined(model.language_model, catalog)
        with torch.device("meta"):
            parts |= {"projection": nn.Linear(bridge.width, language_model.width), "language_model": language_model}
    return parts


def outlined(chosen: Chosen, catalog: Catalog, **context: object):
    """Build one part: with the geometry of its weights if they are here, else with that of its architecture."""
    found = {named.field: _geometry(named.value, catalog) for named in weights_of(chosen)}
    options = chosen.options.model_copy(update=found)
    try:
        with torch.device("meta"):
            return chosen.offer.build(options, **context)
    except UserError as error:
        missing = [named.value for named in weights_of(chosen) if found[named.field] == RANDOM != named.value]
        do = f"Weights {', '.join(missing)} are not here: name an architecture, or fetch them." if missing else error.do
        raise UserError(error.what, where=chosen.where, do=do) from error


def _geometry(value: str, catalog: Catalog) -> str:
    try:
        return str(locate(value, catalog))
    except UserError:
        return RANDOM
