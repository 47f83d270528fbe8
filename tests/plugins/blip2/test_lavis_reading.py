"""`lavis` reads every kind of file and accounts for every tensor; the Q-Former is the original's to the last digit."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmbridge_blip2.lavis.format import Lavis
from mmbridge_qformer import QFormerOptions, build_qformer
from mmbridge_registry import Tokens
from safetensors.torch import load_file
from torch.testing import assert_close
from toys import lavis_files
from toys.lavis_files import KINDS, write_lavis

GOLDENS = Path(__file__).parents[2] / "goldens"
EXACT = {"rtol": 1e-11, "atol": 1e-11}
POSITION_IDS = "Qformer.bert.embeddings.position_ids"
TITLES = {
    "stage1": "LAVIS stage 1, an encoder of width 176",
    "stage1_clip": "LAVIS stage 1, an encoder of width 128",
    "opt": "LAVIS stage 2, an encoder of width 176, OPT",
    "t5": "LAVIS stage 2, an encoder of width 176, FlanT5",
    "t5_clip": "LAVIS stage 2, an encoder of width 128, FlanT5",
    "caption_opt": "LAVIS caption finetune, an encoder of width 176 at 28 px, OPT",
    "caption_t5": "LAVIS caption finetune, an encoder of width 176 at 28 px, FlanT5",
    "retrieval": "LAVIS retrieval finetune, an encoder of width 176 at 28 px",
    "retrieval_clip": "LAVIS retrieval finetune, an encoder of width 128 at 28 px",
}


def read(file, state, **beside):
    torch.save({"model": state, **beside}, file)
    assert Lavis().recognises(file)
    return Lavis().read(file)


def build(imported, width, **changes):
    """Build the Q-Former that the config says, and fill it as the framework does: by published names."""
    options = {key: value for key, value in imported.model["bridge"].items() if key not in {"name", "tokenizer"}}
    bridge = build_qformer(QFormerOptions(**options | changes), width).eval()
    places = bridge.published().tensors
    with torch.no_grad():
        for name, tensor in imported.bridge.items():
            assert places[name].shape == tensor.shape
            places[name].copy_(tensor)
    return bridge, places


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_told_and_every_tensor_accounted_for(kind, tmp_path):
    imported = Lavis().read(write_lavis(tmp_path / "x.pth", kind))
    state = torch.load(tmp_path / "x.pth")["model"]
    assert imported.title == TITLES[kind]
    assert imported.renamed.keys() | set(imported.unused) == state.keys()
    assert imported.unused == (POSITION_IDS,)
    assert "epoch: not read" in imported.notes[-1]
    parts = {"bridge": imported.bridge, "projection": imported.projection}
    parts |= {key: tower.tensors for key, tower in imported.towers.items()}
    for name, place in imported.renamed.items():
        part, _, tail = place.partition(".")
        assert parts[part][tail].equal(state[name])
    placed = {f"{part}.{name}" for part, tensors in parts.items() for name in tensors}
    assert placed == set(imported.renamed.values())
    build(imported, state["ln_vision.weight"].numel())


@pytest.mark.parametrize("kind", KINDS)
def test_missing_parts_are_named(kind, tmp_path):
    imported = Lavis().read(write_lavis(tmp_path / "x.pth", kind))
    words, text = "embeddings.word_embeddings", kind.startswith(("stage1", "retrieval"))
    assert any(words in name for name in imported.bridge) == text
    notes = " ".join(imported.notes)
    assert ("LAVIS deletes it before stage 2" in notes) != text
    assert ("The encoder is not in it" in notes) != bool(imported.towers)
    assert ("The language model is not in it" in notes) == (not text)
    assert bool(imported.projection) == (not text)
    assert "1e-12 in the Q-Former, 1e-05 over the encoder's features" in notes


def test_sizes_are_read_off(tmp_path):
    bridge = Lavis().read(write_lavis(tmp_path / "x.pth", "stage1", positions=20)).model["bridge"]
    assert bridge == {
        "name": "qformer", "queries": 5, "layers": 3, "width": 128, "heads": 2, "intermediate": 96,
        "cross_attention_every": 2, "positions": 20, "vocabulary": 200, "contrastive_width": 24, "max_text_length": 20,
        "norm_eps": 1e-12, "image_norm_eps": 1e-5,
    }  # fmt: skip


@pytest.fixture
def of_the_original(tmp_path):
    return read(tmp_path / "stage1.pth", load_file(GOLDENS / "stage1_state.safetensors"), epoch=1)


@torch.no_grad()
def test_the_original_gives_the_originals_numbers(of_the_original):
    golden = load_file(GOLDENS / "stage1_io.safetensors")
    bridge, places = build(of_the_original, 48, heads=4, dropout=0.0, max_text_length=16)
    assert places.keys() == of_the_original.bridge.keys()
    bridge.double()
    tokens = Tokens(golden["input_ids"], golden["attention_mask"].bool())
    image = bridge.encode_image(golden["features"].double())
    assert_close(image.queries, golden["query_hidden.f64"], **EXACT)
    assert_close(bridge.embed_text(bridge.encode_text(tokens)), golden["text_feat.f64"], **EXACT)
    hidden = bridge.decode_text(image, tokens)[tokens.mask]
    assert_close(bridge.vocabulary_logits(hidden), golden["lm_logits.f64"][tokens.mask], **EXACT)
    cosines = torch.einsum("iqc,jc->ijq", bridge.embed_image(image), golden["text_feat.f64"])
    assert_close(cosines.amax(-1) / bridge.temperature, golden["sim_i2t.f64"], **EXACT)
    assert_close(bridge.match(image, tokens), golden["itm_logits.f64"][:6], **EXACT)


def test_heads_of_an_unknown_width_are_said_to_be_assumed(of_the_original, tmp_path):
    assert of_the_original.model["bridge"]["heads"] == 1
    assert any("1 of width 64, as in BERT, are assumed" in note for note in of_the_original.notes)
    odd = Lavis().read(write_lavis(tmp_path / "odd.pth", "stage1", width=96))
    assert odd.model["bridge"]["heads"] is None
    assert any("does not divide 96; model.bridge.heads sets them" in note for note in odd.notes)


def test_what_lavis_fixes_is_known_at_its_own_sizes(tmp_path):
    sizes = {"width": 768, "inner": 8, "layers": 1, "vocabulary": 30_523, "encoder": 1408, "positions": 512}
    imported = Lavis().read(write_lavis(tmp_path / "x.pth", "stage1", **sizes))
    assert imported.title == "LAVIS stage 1, ViT-g"
    assert imported.model["vision_encoder"] == {
        "name": "eva_vit_g", "weights": "timm/eva_giant_patch14_clip_224.laion400m", "dtype": "float16",
    }  # fmt: skip
    assert imported.model["bridge"]["tokenizer"] == "google-bert/bert-base-uncased"
    assert imported.model["bridge"]["heads"] == 12
    assert not any("heads" in note or "tokenizer" in note for note in imported.notes)


@pytest.mark.parametrize(
    ("kind", "width", "weights"),
    [
        ("opt", 2560, "facebook/opt-2.7b"),
        ("opt", 4096, "facebook/opt-6.7b"),
        ("t5", 2048, "google/flan-t5-xl"),
        ("t5_clip", 4096, "google/flan-t5-xxl"),
        ("opt", 2048, None),
        ("t5", 32, None),
    ],
)
def test_language_models_are_told_by_the_projection(kind, width, weights, tmp_path):
    sizes = {"encoder": 1024} if kind.endswith("clip") else {}
    imported = Lavis().read(write_lavis(tmp_path / "x.pth", kind, language=width, **sizes))
    name, dtype = ("opt", "float16") if kind == "opt" else ("flan_t5", "bfloat16")
    assert imported.model["language_model"] == {"name": name, "weights": weights, "dtype": dtype}
    assert any((weights or "set model.language_model") in note for note in imported.notes)
    if sizes:
        assert imported.title == "LAVIS stage 2, CLIP ViT-L, FlanT5"
        assert imported.model["vision_encoder"]["weights"] == "timm/vit_large_patch14_clip_224.openai"


def test_flat_and_old_files_are_read_as_well(tmp_path):
    state = lavis_files.state("opt")
    torch.save(state, tmp_path / "flat.pth")
    torch.save({"model": state}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    for file in ("flat.pth", "old.pth"):
        assert Lavis().recognises(tmp_path / file)
        imported = Lavis().read(tmp_path / file)
        assert all(tensor.equal(state[name]) for name, tensor in imported.bridge.items())


def test_strangers_are_named_and_left(tmp_path):
    state = lavis_files.state("caption_opt")
    extra = {
        "opt_model.model.decoder.embed_tokens.weight": torch.ones(2),
        "Qformer.bert.pooler.dense.weight": torch.ones(2),
        "visual_encoder.norm.weight": torch.ones(2),
        "momentum": torch.ones(2),
    }
    imported = read(tmp_path / "x.pth", state | extra, optimizer={"state": {}}, config={"run": {"lr": 1.0}})
    assert set(imported.unused) == extra.keys() | {POSITION_IDS}
    notes = " ".join(imported.notes)
    assert "It holds a language model (opt_model.model.decoder.embed_tokens.weight)" in notes
    assert "ends before visual_encoder.norm.weight" in notes
    assert "has no Qformer.bert.pooler.dense.weight, momentum" in notes
    assert "holds optimizer, config: not read" in notes


def test_half_a_text_branch_is_taken_and_the_rest_named(tmp_path):
    state = {name: tensor for name, tensor in lavis_files.state("stage1").items() if not name.startswith("itm_head")}
    imported = read(tmp_path / "x.pth", state)
    assert imported.notes[0] == "Of the text branch, itm_head.weight, itm_head.bias are not in it, and new here."
    assert imported.title.startswith("LAVIS stage 1")


def test_a_head_stored_only_once_is_the_table_it_is_tied_to(tmp_path):
    state = lavis_files.state("stage1")
    table = state.pop("Qformer.bert.embeddings.word_embeddings.weight")
    imported = read(tmp_path / "x.pth", state)
    assert imported.bridge["Qformer.bert.embeddings.word_embeddings.weight"].equal(table)


def test_dtypes_other_than_float32_are_told(tmp_path):
    state = lavis_files.state("opt")
    half = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    imported = read(tmp_path / "x.pth", half)
    assert any("stored in float16; here it is float32" in note for note in imported.notes)


geometries = st.fixed_dictionaries(
    {
        "encoder": st.integers(1, 40),
        "queries": st.integers(1, 6),
        "layers": st.integers(1, 6),
        "every": st.integers(1, 4),
        "width": st.sampled_from([1, 7, 64]),
        "inner": st.integers(1, 20),
        "vocabulary": st.integers(1, 20),
        "positions": st.integers(2, 40),
        "contrastive": st.integers(1, 9),
        "language": st.integers(1, 9),
    }
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=geometries, stage_2=st.booleans())
def test_any_geometry_fits_the_qformer_that_it_describes(sizes, stage_2, tmp_path):
    kind = "opt" if stage_2 else "stage1"
    imported = Lavis().read(write_lavis(tmp_path / "x.pth", kind, **sizes))
    heads = {} if imported.model["bridge"]["heads"] else {"heads": 1}
    # Layers between the first and the last decide how often the image is looked at; behind the last nobody can tell.
    bridge, places = build(imported, sizes["encoder"], **heads)
    looking = [number for number in range(sizes["layers"]) if number % sizes["every"] == 0]
    assert [number for number, layer in enumerate(bridge.layers) if any(".cross_" in f".{n}" for n, _ in
            layer.named_parameters())] == looking  # fmt: skip
    if not stage_2:
        assert places.keys() == imported.bridge.keys()


def test_toys_are_named_as_the_original_is():
    original = load_file(GOLDENS / "stage1_state.safetensors")
    sizes = replace(
        lavis_files.Sizes(), encoder=48, queries=8, layers=4, width=64, inner=128, positions=64, contrastive=32
    )
    toy = lavis_files.image_branch(sizes) | lavis_files.text_branch(sizes)
    assert {name: tensor.shape for name, tensor in toy.items()} == {
        name: tensor.shape for name, tensor in original.items()
    }
