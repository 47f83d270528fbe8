"""The cards that ship: each reads without torch, and asks for numbers that its evaluation gives."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from mmbridge_registry import Record
from mmbridge_registry.discovery import Discovered, discover
from mmbridge_registry.kinds import DATASET, EVALUATION

from mmbridge.cards import ByCard
from mmbridge.config import load_card, load_recipe, published, shipped_cards, shipped_configs
from mmbridge.config.cards import compared
from mmbridge.config.choosing import choose
from mmbridge.config.places import Problems
from mmbridge.config.published import recognised

CARDS = shipped_cards()
DOMAINS = ("in-domain", "near-domain", "out-domain")


@pytest.fixture(scope="module")
def found() -> Discovered:
    return discover()


@pytest.fixture(scope="module")
def models(found: Discovered):
    """The models of shipped configs, which are read once here and not for every card."""
    models = {name: load_recipe(name, [], found).model for name in shipped_configs()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(published, "_model", lambda config, found: models[config])
        yield models


class Scripted:
    """A model that says the same of every image, and finds nothing."""

    def caption(self, images, prompt, generation):
        return ["a dog on the grass"] * len(images)

    def answer(self, images, questions, prompt, generation):
        assert prompt.format("is it?").startswith("Question: is it?")
        return ["dog"] * len(images)

    def encode(self, images):
        return SimpleNamespace(embed=lambda: torch.eye(len(images))[:, None], match=self.match)

    def embed_texts(self, texts, **how):
        return torch.eye(len(texts))

    def match(self, rows, texts, **how):
        return torch.zeros(len(rows), 2)


RECORDS = [
    Record(
        b"",
        texts=(f"a dog on the grass {number}",),
        question="is it?",
        answers=("dog",) * 10,
        name=str(number),
        image_id=number,
        facts={"domain": domain},
    )
    for number, domain in enumerate(DOMAINS * 2)
]


def test_they_are_read_without_torch():
    child = (
        "import sys; from mmbridge.config import load_card, shipped_cards; "
        "from mmbridge_registry.discovery import discover; found = discover(); "
        "print(*(load_card(path, [], found).name for path in shipped_cards().values())); "
        "print([name for name in ('torch', 'transformers', 'datasets', 'spacy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True)
    names, heavy = done.stdout.splitlines()
    assert names.split() == list(CARDS) and len(CARDS) >= 11
    assert heavy == "[]"


@pytest.mark.parametrize("name", CARDS)
def test_every_expected_number_is_one_that_the_evaluation_gives(name: str, found: Discovered) -> None:
    card = load_card(CARDS[name], [], found)
    chosen = choose(EVALUATION, card.evaluation, (), found, Problems())
    assert chosen is not None
    options = chosen.options.model_copy(update={"lemmatise": False})  # it needs spaCy's model, and changes no name
    evaluated = chosen.offer.build(options).evaluate(Scripted(), RECORDS)
    for expected in card.expected.values():
        assert expected.keys() <= evaluated.metrics.keys()
        # Shares, and CIDEr as it is: papers print both a hundredfold.
        assert all(0.2 < value <= (1.5 if "cider" in metric else 1) for metric, value in expected.items())


@pytest.mark.parametrize("name", CARDS)
def test_each_model_is_recognised_and_the_miniature_is_none(name: str, found: Discovered, models) -> None:
    card = load_card(CARDS[name], [], found)
    for config, values in card.expected.items():
        by = recognised(ByCard(card, ()), models[config], found)
        assert (by.model, by.expected) == (config, values)
    assert recognised(ByCard(card, ()), models["blip2_tiny"], found).model is None


@pytest.mark.parametrize("name", CARDS)
def test_each_is_as_it_says(name: str, found: Discovered) -> None:
    card = load_card(CARDS[name], [], found)
    evaluation = choose(EVALUATION, card.evaluation, (), found, Problems())
    dataset = choose(DATASET, card.data, (), found, Problems())
    assert evaluation and dataset
    assert compared(card, evaluation, dataset, found).deviations == ()


def test_the_first_stage_is_the_same_whatever_language_model_comes_after_it(found: Discovered) -> None:
    card = load_card("cards/coco_retrieval", [], found)
    overrides = ["~model.language_model", "~stages.generation"]
    for config, expected in (("blip2_opt2.7b", "blip2_flant5xl"), ("blip2_vitl_opt2.7b", "blip2_vitl_flant5xl")):
        for model in (load_recipe(config, [], found).model, load_recipe(config, overrides, found).model):
            assert recognised(ByCard(card, ()), model, found).model == expected
