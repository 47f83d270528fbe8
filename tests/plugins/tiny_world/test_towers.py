"""The shipped towers: they load as their big siblings do, and their cards' figures are reproduced on a sample."""

import json

import numpy as np
import pytest
import torch
from mmbridge_tiny_world import TOWERS, WEIGHTS
from mmbridge_tiny_world.drawing import owners
from mmbridge_tiny_world.grammar import captions, shorthand
from mmbridge_tiny_world.towers.bert import measure as measure_bert
from mmbridge_tiny_world.towers.eva import EvaTower
from mmbridge_tiny_world.towers.language import all_words, ceiling
from mmbridge_tiny_world.towers.opt import load as load_opt
from mmbridge_tiny_world.towers.t5 import load as load_t5
from mmbridge_tiny_world.towers.training import fit
from mmbridge_tiny_world.towers.vit import CONFIG, ClipTower, pixels_of
from mmbridge_tiny_world.world import COLOURS, SHAPES, SIZES, held_out_scenes, picture_at
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM, AutoTokenizer

LOADERS = {"opt": load_opt, "t5": load_t5}


def card(tower):
    return json.loads((WEIGHTS / tower / "card.json").read_text())


@pytest.fixture(scope="module")
def towers():
    return {name: load(WEIGHTS / name) for name, load in LOADERS.items()}


@pytest.fixture(scope="module", params=[("vit", ClipTower), ("eva", EvaTower)], ids=["vit", "eva"])
def image_tower(request):
    name, build = request.param
    tower = build()
    tower.restore(WEIGHTS / name)
    return tower.eval()


@pytest.mark.parametrize("tower", ["opt", "t5"])
def test_the_ceiling_on_the_card_is_reproduced(tower, towers):
    found, written = ceiling(towers[tower].generate, "test", size=24), card(tower)["test"]
    for figure in ("attributes", "exact", "answers"):
        assert written[figure] >= 0.97
        assert found[figure] == pytest.approx(written[figure], abs=0.1)


@pytest.mark.parametrize("tower", ["opt", "t5"])
def test_a_batch_says_what_its_rows_say_alone(tower, towers):
    scenes = held_out_scenes("test", 0, 3)
    given, asked = (
        [shorthand(scene) for scene in scenes],
        ["", "there is", "Question: how many shapes are there? Answer:"],
    )
    together = towers[tower].generate(given, asked)
    assert together == [towers[tower].generate([g], [a])[0] for g, a in zip(given, asked, strict=True)]


@pytest.mark.parametrize(
    ("tower", "auto"), [("opt", AutoModelForCausalLM), ("t5", AutoModelForSeq2SeqLM), ("bert", AutoModelForMaskedLM)]
)
def test_transformers_loads_it_in_float32_with_its_tokenizer(tower, auto):
    model, tokenizer = auto.from_pretrained(WEIGHTS / tower), AutoTokenizer.from_pretrained(WEIGHTS / tower)
    assert model.dtype == torch.float32
    assert model.get_input_embeddings().num_embeddings == len(tokenizer)
    words = sorted({word for line in all_words()[:300] for word in line.replace("?", "").replace(":", "").split()})
    for word in words:
        assert len(tokenizer(f" {word}", add_special_tokens=False)["input_ids"]) == 1, word


def test_opt_has_the_special_tokens_of_opt():
    tokenizer = AutoTokenizer.from_pretrained(WEIGHTS / "opt")
    assert tokenizer.convert_tokens_to_ids(["<s>", "<pad>", "</s>", "<unk>"]) == [0, 1, 2, 3]
    assert tokenizer("a star\n")["input_ids"][0] == 2
    assert len(tokenizer("\n", add_special_tokens=False)["input_ids"]) == 1


def test_bert_foretells_the_grammar():
    model, tokenizer = (auto.from_pretrained(WEIGHTS / "bert") for auto in (AutoModelForMaskedLM, AutoTokenizer))
    found, written = measure_bert(model.eval(), tokenizer, "test"), card("bert")["test"]
    assert found["masked_right"] == pytest.approx(written["masked_right"], abs=0.02)
    assert written["masked_right"] > 0.5
    assert tokenizer.unk_token_id not in tokenizer(captions(held_out_scenes("test", 0, 2)[0]))["input_ids"][0]


def test_a_linear_map_reads_each_thing_off_the_second_last_layer(image_tower):
    """Fit on pictures of train the least-squares map from the patch at a thing's centre, and read test pictures."""
    inputs, labels = {}, {}
    for split, count in (("train", 700), ("test", 128)):
        pictures = [picture_at(split, 5, index, count) for index in range(count)]
        with torch.no_grad():
            patches = image_tower.encode(pixels_of(pictures))[0]
        places = [(p, 8 * row + column) for p, pic in enumerate(pictures) for column, row in pic.centres]
        inputs[split] = torch.stack([patches[p, place] for p, place in places])
        inputs[split] = torch.nn.functional.layer_norm(inputs[split], inputs[split].shape[-1:])
        labels[split] = [thing for picture in pictures for thing in picture.scene.things]
    for field, values in (("size", SIZES), ("colour", COLOURS), ("shape", SHAPES)):
        wanted = {s: torch.tensor([values.index(getattr(t, field)) for t in labels[s]]) for s in labels}
        ones = {s: torch.cat([inputs[s], torch.ones(len(inputs[s]), 1)], 1) for s in inputs}
        solution = torch.linalg.lstsq(ones["train"], torch.eye(len(values))[wanted["train"]]).solution
        assert ((ones["test"] @ solution).argmax(1) == wanted["test"]).float().mean() > 0.98, field


def test_all_towers_are_small_half_precision_and_measured():
    files = [file for tower in TOWERS for file in (WEIGHTS / tower).iterdir()]
    assert sum(file.stat().st_size for file in files) < 10_000_000
    assert all({"steps", "minutes", "test", "unseen_pairs"} <= card(tower).keys() for tower in TOWERS)


def test_fitting_lowers_a_loss(capsys):
    weight = torch.nn.Parameter(torch.tensor(2.0))
    fit("probe", [weight], lambda step: weight.square(), steps=400, lr=0.1)
    assert weight.abs() < 0.1
    assert "probe step 400/400" in capsys.readouterr().out


def test_owners_agree_with_the_grid_of_the_tower():
    grid = CONFIG["vision_cfg"]["image_size"] // CONFIG["vision_cfg"]["patch_size"]
    assert owners(picture_at("train", 0, 0, 0)).shape == (grid, grid)
    assert isinstance(owners(picture_at("train", 0, 0, 0)), np.ndarray)
