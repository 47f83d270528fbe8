"""The sweeps that ship: each reads, and each variant differs from the first in what it is named after, nothing else."""

import pytest
from mmbridge_registry.discovery import Discovered, discover

from mmbridge.config import shipped_pipelines
from mmbridge.run_directory import flat
from mmbridge.sweep.declared import Sweep
from mmbridge.sweep.reading import is_sweep, load_sweep

SWEEPS = [path for path in shipped_pipelines().values() if is_sweep(path)]
CLAIMS = {
    "no_stage_1": ("stages.representation.", "evaluate.retrieval."),
    "no_itg": ("stages.representation.objectives.itg.",),
    "last_layer": ("model.vision_encoder.output_layer",),
}


@pytest.fixture(scope="module")
def found() -> Discovered:
    return discover()


def changed(sweep: Sweep, variant: str) -> set[str]:
    """Name the keys in which a variant differs from the first one, with the same seed."""
    first, other = (next(run for run in sweep.runs if run.variant == one) for one in (sweep.reference, variant))
    one, two = flat(first.recipe.resolved), flat(other.recipe.resolved)
    return {key for key in one.keys() | two.keys() if one.get(key) != two.get(key)} - {"run.name"}


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_every_run_is_valid_and_every_variant_another(path: str, found: Discovered) -> None:
    sweep = load_sweep(path, [], found)
    assert all(changed(sweep, variant) for variant in sweep.settings.variants if variant != sweep.reference)


def test_the_claims_of_the_paper(found: Discovered) -> None:
    sweep = load_sweep("ablations/blip2_tiny_claims", [], found)
    assert set(sweep.settings.variants) == {"full", *CLAIMS} and len(sweep.settings.seeds) >= 3
    for variant, keys in CLAIMS.items():
        differing = changed(sweep, variant)
        assert differing and all(key.startswith(keys) for key in differing), differing
