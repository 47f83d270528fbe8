"""The published language models inside a folder of transformers are known by their sizes."""

import pytest
from mmbridge_blip2.hugging_face.language import ARCHITECTURES, _architecture
from mmbridge_flan_t5.geometries import GEOMETRIES as FLAN_T5
from mmbridge_opt.geometries import GEOMETRIES as OPT
from transformers import OPTConfig, T5Config

SIZES = {name: OPTConfig(**size) for name, size in OPT.items()} | {
    name: T5Config(**size) for name, size in FLAN_T5.items()
}


@pytest.mark.parametrize("name", SIZES)
def test_those_of_blip2_are_named(name):
    assert _architecture(SIZES[name]) == ({"architecture": name} if name in ARCHITECTURES.values() else {})


def test_a_row_for_the_placeholder_makes_no_other_opt_of_it():
    assert _architecture(OPTConfig(**OPT["opt-2.7b"] | {"vocab_size": 50304})) == {"architecture": "opt-2.7b"}
