"""Checking, before a run writes anything, that the features it would read are those that its encoder would give."""

from collections.abc import Iterable

import numpy as np
from mmbridge_registry import Catalog, Dataset, UserError, VisionEncoder

from mmbridge.data.order import Mixture
from mmbridge.engine import Engine
from mmbridge.features.cached import CachedFeatures
from mmbridge.features.encoding import Pictures, encode
from mmbridge.features.folder import IMAGES, read_manifest
from mmbridge.features.key import compare, key_of_data, key_of_encoder
from mmbridge.features.shards import missing
from mmbridge.recipe import Recipe

SAMPLED = 64
"""Records that are looked at before a run; all others when they are read."""
CLOSE = 0.03
"""Largest difference between features, relative to their norm: bfloat16 on another machine stays well below it."""


def open_cached(recipe: Recipe, datasets: Iterable[str]) -> dict[str, CachedFeatures] | None:
    """Open the features of these data sets; None if the recipe has none.

    Raises:
        UserError: there are none of a data set.
    """
    if recipe.features is None:
        return None
    cached = {}
    for name in datasets:
        folder = recipe.features.folder / name
        manifest = read_manifest(folder)
        if manifest is None:
            raise UserError(f"there are no features of data.{name}.", where=folder, do=_write(recipe))
        cached[name] = CachedFeatures(name, folder, manifest, recipe.run.seed)
    return cached


def check_features(
    recipe: Recipe, catalog: Catalog, mixtures: Iterable[Mixture], encoder: VisionEncoder, here: Engine
) -> None:
    """Check the features of all data sets that stages read: key, completeness, records, and one image's features.

    Raises:
        UserError: they do not fit; the message says what differs and which command mends it.
    """
    if recipe.features is None:
        return
    datasets = {name: dataset for mixture in mixtures for name, dataset in mixture.datasets.items()}
    key = key_of_encoder(recipe, catalog)
    for name, cached in (open_cached(recipe, datasets) or {}).items():
        do = f"Undo the change, or write others: {_command(recipe)} features.folder=ANOTHER."
        compare(cached.manifest.key, key | key_of_data(recipe, name, len(datasets[name])), cached.folder, do)
        if absent := missing(cached.folder, cached.manifest):
            what = f"{len(absent)} of {cached.manifest.shards} shards have not been written."
            raise UserError(what, where=cached.folder, do=_write(recipe))
        _check_records(cached, datasets[name])
        _prove(cached, datasets[name], recipe, encoder, here)


def _check_records(cached: CachedFeatures, dataset: Dataset) -> None:
    """Look at records from all over the data set: has it changed since?"""
    for index in np.linspace(0, len(dataset) - 1, min(SAMPLED, len(dataset)), dtype=int).tolist():
        try:
            cached.find(index, dataset.read(index))
        except (OSError, ValueError):
            continue


def _prove(cached: CachedFeatures, dataset: Dataset, recipe: Recipe, encoder: VisionEncoder, here: Engine) -> None:
    """Encode the first image that can be read once more, and compare.

    What no key can say is noticed here: another version of a library, an image with other contents.
    """
    part = recipe.data[cached.name].dataset.offer.name
    pictures = Pictures(dataset, cached.folder / IMAGES, encoder.transform(train=True), part, 1)
    for row in range(cached.manifest.images):
        first = int(np.load(pictures.images, mmap_mode="r")[row])
        try:
            cached.find(first, dataset.read(first))
            pixels = pictures.views(row)
        except (OSError, ValueError):
            continue
        now = encode(encoder, pixels, here)[0].float()
        before = cached.read_view(row, 0).float()
        apart = float((now - before).norm() / now.norm())
        if not apart <= CLOSE:
            what = f"the encoder gives other features for record {first} than these, by {apart:.0%}"
            do = f"Write others: {_command(recipe)} features.folder=ANOTHER."
            raise UserError(f"{what}: its image, the encoder or a library has changed.", where=cached.folder, do=do)
        return


def _command(recipe: Recipe) -> str:
    return f"mmbridge data features {recipe.source}"


def _write(recipe: Recipe) -> str:
    return f"Write them first: `{_command(recipe)}`, with the same overrides."
