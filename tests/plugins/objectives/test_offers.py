"""What the plugin offers, and that looking at it costs nothing."""

import subprocess
import sys

import mmbridge_objectives
import pytest
from mmbridge_registry import DECODER, ENCODER_DECODER, OBJECTIVE, TEXT_BRIDGE, Catalog, Draft, Objective, Tokens

REQUIRES = {"itc": TEXT_BRIDGE, "itg": TEXT_BRIDGE, "itm": TEXT_BRIDGE, "lm": DECODER, "prefix_lm": ENCODER_DECODER}
PASSES = {"itc": "contrast", "itg": "decode", "itm": "match", "lm": "image", "prefix_lm": "image"}


@pytest.fixture
def catalog():
    catalog = Catalog()
    mmbridge_objectives.offer_parts(catalog)
    return catalog


def test_names(catalog):
    assert catalog.names(OBJECTIVE) == sorted(REQUIRES)


@pytest.mark.parametrize("name", REQUIRES)
def test_part(catalog, name):
    offer = catalog.find(OBJECTIVE, name)
    assert offer.requires == {REQUIRES[name]}
    assert all(field.description for field in offer.options.model_fields.values())
    objective = offer.build(offer.options())
    assert isinstance(objective, Objective)
    assert objective.passes == {PASSES[name]}
    assert not list(objective.parameters())


@pytest.mark.parametrize("name", ["itc", "itg", "itm"])
def test_captions_are_shared(catalog, name):
    offer = catalog.find(OBJECTIVE, name)
    tokens = Tokens(*[None] * 2)
    prepared = offer.build(offer.options()).prepare(Draft([], lambda texts: tokens, None))
    assert prepared == {"captions": tokens}


def test_importing_the_plugin_imports_no_torch():
    code = "import sys, mmbridge_objectives as m; from mmbridge_registry import Catalog; m.offer_parts(Catalog());"
    subprocess.run([sys.executable, "-c", code + "assert 'torch' not in sys.modules"], check=True)
