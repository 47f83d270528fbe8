"""The key: everything that features depend on, by the names that a config has for it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmbridge_registry import RANDOM, Catalog, UserError

from mmbridge.config.resolved import masked
from mmbridge.fingerprints import of_files
from mmbridge.recipe import Chosen, Recipe
from mmbridge.weights import locate, weights_of

FORMAT = 1


def key_of_encoder(recipe: Recipe, catalog: Catalog) -> dict[str, Any]:
    """Give what features depend on, apart from the data: the encoder, its weights by content, the number of views."""
    assert recipe.features is not None
    part = recipe.model.vision_encoder
    where = "model.vision_encoder"
    key = {"format": FORMAT} | _part(where, part) | {"features.views": recipe.features.views}
    for named in weights_of(part):
        located = locate(named.value, catalog, named.where)
        key[f"{where}.{named.field}"] = (
            f"{RANDOM}, run.seed {recipe.run.seed}" if located == RANDOM else of_files(Path(located))
        )
    return key


def key_of_data(recipe: Recipe, name: str, records: int) -> dict[str, Any]:
    """Give what features depend on of a data set: its part, its options, its length."""
    return _part(f"data.{name}", recipe.data[name].dataset) | {f"records of data.{name}": records}


def compare(before: Mapping[str, Any], now: Mapping[str, Any], folder: Path, do: str) -> None:
    """Refuse features that were written with another key.

    Raises:
        UserError: the first key that differs, and how many more do.
    """
    changed = [key for key in dict.fromkeys((*now, *before)) if before.get(key) != now.get(key)]
    if changed:
        key = changed[0]
        more = f" (and {len(changed) - 1} more: {', '.join(changed[1:4])})" if len(changed) > 1 else ""
        what = f"these features were written with {key} = {before.get(key)}, now it is {now.get(key)}{more}."
        raise UserError(what, where=folder, do=do)


def _part(where: str, chosen: Chosen) -> dict[str, Any]:
    options = masked(chosen.options.model_dump(mode="json"))
    return {f"{where}.name": chosen.offer.name} | {f"{where}.{key}": value for key, value in options.items()}
