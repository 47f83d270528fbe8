"""Nothing is lost or changed on the way there and back, except what the reports name."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from mmbridge_blip2.hugging_face.format import HuggingFace
from mmbridge_blip2.hugging_face.side_file import SETTINGS, TENSORS, TOKENIZER
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from toys.blip2_checkpoints import DEEP, GEOMETRIES, PLAIN, edit_config, random_blip2, write_blip2, write_processor
from toys.blip2_parts import assembled

HALVES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


def stored(folder: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for file in folder.glob("model*.safetensors") for name, tensor in load_file(file).items()}


def there_and_back(source: Path, folder: Path) -> tuple[Any, Any]:
    imported = HuggingFace().read(source)
    model = assembled(imported, folder / "parts")
    return imported, HuggingFace().write(model, folder / "back", "# A card")


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert tensor.dtype == other[name].dtype and torch.equal(tensor, other[name]), name


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("kind", ["opt", "t5", "retrieval", "backbone"])
def test_a_folder_comes_back_bit_by_bit(kind: Any, geometry: str, tmp_path: Path) -> None:
    source = write_blip2(tmp_path / "hf", kind, GEOMETRIES[geometry])
    imported, exported = there_and_back(source, tmp_path)
    assert_same(stored(source), stored(tmp_path / "back"))
    assert set(imported.renamed) == set(stored(source)) == set(exported.renamed.values())
    assert not imported.unused and not exported.lost
    assert not list((tmp_path / "back").glob("mmbridge*"))  # what was never there is not made up on the way


@pytest.mark.parametrize("kind", ["opt", "t5"])
def test_its_config_and_its_words_come_back(kind: Any, tmp_path: Path) -> None:
    source = write_blip2(tmp_path / "hf", kind)
    there_and_back(source, tmp_path)
    before, after = (json.loads((each / "config.json").read_text()) for each in (source, tmp_path / "back"))
    for part in ("vision_config", "qformer_config", "text_config"):
        for key, value in after[part].items():
            if key != "tie_word_embeddings" and key in before[part]:
                assert value == before[part][key], (part, key)
    assert after["image_token_index"] == before["image_token_index"]
    assert (tmp_path / "back" / "README.md").read_text() == "# A card"


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("kind", ["opt", "t5"])
def test_towers_keep_their_types_and_what_is_widened_is_said(kind: Any, dtype: str, tmp_path: Path) -> None:
    source = tmp_path / "hf"
    random_blip2(kind).to(HALVES[dtype]).save_pretrained(source)
    write_processor(source, kind, PLAIN)
    if dtype == "float16" and kind == "opt":  # the encoder alone is refused in it, but its tensors are kept
        edit_config(source, dtype=dtype)
    imported = HuggingFace().read(source)
    overflows = kind == "t5" and dtype == "float16"
    assert imported.model["language_model"]["dtype"] == ("float32" if overflows else dtype)
    assert imported.model["vision_encoder"]["dtype"] == dtype
    assert any("T5 is stored in float16" in note for note in imported.notes) == overflows
    assert any(f"Q-Former is stored in {dtype}" in note for note in imported.notes)
    assert any("projection is stored in less" in note for note in imported.notes)
    _, exported = there_and_back(source, tmp_path)
    before, after = stored(source), stored(tmp_path / "back")
    assert before.keys() == after.keys() == set(exported.renamed.values())
    for name, tensor in before.items():
        assert torch.equal(after[name].float(), tensor.float()), name
        tower = name.startswith(("vision_model.e", "language_model."))
        kept = tower and not (overflows and name.startswith("language_model."))
        assert after[name].dtype == (HALVES[dtype] if kept else torch.float32), name


def test_shards_are_read_and_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "hf"
    random_blip2("opt").save_pretrained(source, max_shard_size="40kB")
    write_processor(source, "opt", PLAIN)
    assert len([*source.glob("model-*.safetensors")]) > 3
    monkeypatch.setattr("mmbridge_blip2.hugging_face.exporting.SHARD", "40kB")
    there_and_back(source, tmp_path)
    assert len([*(tmp_path / "back").glob("model-*.safetensors")]) > 3
    assert_same(stored(source), stored(tmp_path / "back"))
    imported = HuggingFace().read(tmp_path / "back")
    assert set(imported.renamed) == set(stored(source))


def test_tensors_are_mapped_from_the_files_and_not_read(tmp_path: Path) -> None:
    source = write_blip2(tmp_path / "hf", "opt", DEEP)
    table = HuggingFace().read(source).towers["language_model"].tensors["model.decoder.embed_tokens.weight"]
    with safe_open(source / "model.safetensors", "pt") as file:
        assert torch.equal(table, file.get_tensor("language_model.model.decoder.embed_tokens.weight"))
    mapped = [line for line in Path("/proc/self/maps").read_text().splitlines() if str(source) in line]
    assert any(_holds(line, table.data_ptr()) for line in mapped)


def _holds(line: str, address: int) -> bool:
    first, _, last = line.split(maxsplit=1)[0].partition("-")
    return int(first, 16) <= address < int(last, 16)


def test_tables_that_older_versions_store_several_times_are_taken_once(tmp_path: Path) -> None:
    for kind, table in (("opt", "model.decoder.embed_tokens.weight"), ("t5", "shared.weight")):
        source = write_blip2(tmp_path / kind, kind)
        tensors = stored(source)
        twins = {"opt": ("lm_head",), "t5": ("encoder.embed_tokens", "decoder.embed_tokens")}[kind]
        for twin in twins:
            tensors[f"language_model.{twin}.weight"] = tensors[f"language_model.{table}"].clone()
        save_file(tensors, source / "model.safetensors", {"format": "pt"})
        imported = HuggingFace().read(source)
        for twin in twins:
            assert imported.renamed[f"language_model.{twin}.weight"] == f"language_model.{table}"
            assert f"{twin}.weight" not in imported.towers["language_model"].tensors
            assert any(twin in note for note in imported.notes)
        if kind == "opt":  # the older files have the second name alone
            del tensors[f"language_model.{table}"]
            save_file(tensors, source / "model.safetensors", {"format": "pt"})
            assert table in HuggingFace().read(source).towers["language_model"].tensors


def test_what_has_no_place_is_unused_and_named(tmp_path: Path) -> None:
    source = write_blip2(tmp_path / "hf", "retrieval")
    strange = {"embeddings.position_ids": torch.arange(40), "vision_model.pooler.weight": torch.zeros(2, 2)}
    save_file({**stored(source), **strange}, source / "model.safetensors")
    imported = HuggingFace().read(source)
    assert set(imported.unused) == set(strange)
    assert not set(imported.renamed) & set(strange)


@pytest.mark.parametrize("prefix", ["blip.", "model."])
def test_the_prefix_of_a_wrapping_model_is_seen_through(prefix: str, tmp_path: Path) -> None:
    source = write_blip2(tmp_path / "hf", "opt")
    plain = HuggingFace().read(source)
    tensors = {f"{prefix}{name}": tensor for name, tensor in stored(source).items()}
    save_file(tensors, source / "model.safetensors")
    imported = HuggingFace().read(source)
    assert set(imported.renamed) == set(tensors)
    assert imported.model == plain.model
    assert_same(dict(imported.bridge), dict(plain.bridge))


@pytest.mark.parametrize("language", [None, "opt", "t5"])
def test_what_transformers_cannot_hold_goes_to_the_side_file_and_comes_back(
    language: str | None, ours: Any, tmp_path: Path
) -> None:
    model = ours(language, image_norm_eps=3e-5)
    exported = HuggingFace().write(model, tmp_path / "hf", "")
    imported = HuggingFace().read(tmp_path / "hf")
    before = {name: tensor.detach() for name, tensor in model.bridge.published().tensors.items()}
    assert_same(before, dict(imported.bridge))
    assert imported.model["bridge"]["image_norm_eps"] == 3e-5
    assert not imported.unused
    again = assembled(imported, tmp_path / "parts")
    assert again.bridge.tokenizer(["a dog"]).ids.tolist() == model.bridge.tokenizer(["a dog"]).ids.tolist()
    lost = " ".join(exported.lost)
    assert f"bridge.contrast.temperature: kept in {TENSORS}" in exported.lost
    assert "bridge.vocabulary.bias" in lost and f"{SETTINGS}" in lost
    assert (f"bridge.match_head.weight: kept in {TENSORS}" in exported.lost) == (language is not None)
    assert (tmp_path / "hf" / TOKENIZER).exists() == (language is not None)
    names = {name for name in model.learned if name not in exported.renamed}
    assert names == {line.split(":")[0] for line in exported.lost if line.endswith(TENSORS)}


def test_without_the_side_file_what_is_missing_is_said(ours: Any, tmp_path: Path) -> None:
    HuggingFace().write(ours(None), tmp_path / "hf", "")
    (tmp_path / "hf" / TENSORS).unlink()
    imported = HuggingFace().read(tmp_path / "hf")
    assert "temp" not in imported.bridge
    assert any("0.07" in note for note in imported.notes)
    assert any("ITG" in note for note in imported.notes)


def test_an_export_changes_nothing_of_the_model(ours: Any, tmp_path: Path) -> None:
    model = ours("opt")
    before = {name: tensor.clone() for name, tensor in model.tensors().items()}
    HuggingFace().write(model, tmp_path / "hf", "")
    assert_same(before, {name: tensor.data for name, tensor in model.tensors().items()})


def test_what_no_stage_has_trained_is_neither_kept_nor_passed_over_in_silence(ours: Any, tmp_path: Path) -> None:
    model = ours("t5")
    model.learned = {name for name in model.learned if "text" not in name and "match" not in name}
    model.learned -= {"bridge.contrast.temperature"}
    exported = HuggingFace().write(model, tmp_path / "hf", "")
    kept = load_file(tmp_path / "hf" / TENSORS)
    assert "temp" not in kept and "itm_head.weight" not in kept
    assert any("no stage has trained are left out" in note for note in exported.notes)
