"""`lavis` writes what was learned, and nothing else, as LAVIS would; what does not fit is refused or named."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmbridge_blip2.lavis import tower as lavis_tower
from mmbridge_blip2.lavis.format import Lavis
from mmbridge_eva import TimmViTOptions, build_timm_vit
from mmbridge_mlp import MlpOptions, build_mlp
from mmbridge_registry import UserError
from toys.lavis_files import KINDS, write_lavis
from toys.lavis_parts import Speaker, encoder_of, whole

from mmbridge.model import BridgedModel

POSITION_IDS = "Qformer.bert.embeddings.position_ids"


@pytest.fixture
def model_of(tmp_path):
    """Import a random file of a kind, with an encoder of its width whether it came along or not."""

    def build(kind, **sizes):
        imported = Lavis().read(write_lavis(tmp_path / "source.pth", kind, **sizes))
        along = "retrieval_clip" if kind.endswith("clip") else "retrieval"
        other = imported if imported.towers else Lavis().read(write_lavis(tmp_path / "e.pth", along))
        return whole(imported, encoder_of(other, tmp_path / "encoder"))

    return build


@pytest.fixture
def small_model(model_of):
    return model_of("stage1", layers=2)


def write(model, folder):
    exported = Lavis().write(model, folder / "out.pth", "# A card")
    return exported, torch.load(folder / "out.pth", weights_only=True)["model"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_round_trip_gives_the_same_file(kind, model_of, tmp_path):
    model = model_of(kind)
    exported, written = write(model, tmp_path)
    original = torch.load(tmp_path / "source.pth")["model"]
    assert written.keys() == original.keys()
    assert all(written[name].equal(original[name]) and written[name].dtype == original[name].dtype for name in original)
    assert exported.lost == ()
    assert exported.renamed.keys() == model.learned
    assert set(exported.renamed.values()) <= written.keys()
    assert exported.title == Lavis().read(tmp_path / "source.pth").title
    assert (tmp_path / "out.pth.md").read_text() == "# A card"
    again = Lavis().read(tmp_path / "out.pth")
    assert again.model == Lavis().read(tmp_path / "source.pth").model
    assert all(again.bridge[name].equal(tensor) for name, tensor in model.bridge.published().tensors.items()
               if name in again.bridge)  # fmt: skip


def test_weights_lie_under_model_as_plain_tensors_and_tied_ones_once(model_of, tmp_path):
    model = model_of("stage1", vocabulary=4000)
    write(model, tmp_path)
    content = torch.load(tmp_path / "out.pth", weights_only=True, map_location="cpu")
    assert content.keys() == {"model", "mmbridge"}
    assert {type(tensor) for tensor in content["model"].values()} == {torch.Tensor}
    twins = ("Qformer.cls.predictions.decoder.weight", "Qformer.bert.embeddings.word_embeddings.weight")
    assert len({content["model"][name].data_ptr() for name in twins}) == 1
    assert (tmp_path / "out.pth").stat().st_size < 1.2 * (tmp_path / "source.pth").stat().st_size


def test_a_view_does_not_drag_its_storage_into_the_file(model_of, tmp_path):
    model = model_of("opt")
    large = torch.randn(10**6)
    model.projection.bias.data = large[:32]
    _, written = write(model, tmp_path)
    assert written["opt_proj.bias"].equal(large[:32])
    assert written["opt_proj.bias"].untyped_storage().nbytes() == 32 * 4


def test_heads_and_epsilons_that_no_tensor_tells_come_back_with_the_file(model_of, tmp_path):
    model = model_of("retrieval")
    model.bridge.geometry = model.bridge.geometry.__class__(
        **vars(model.bridge.geometry) | {"heads": 8, "norm_eps": 1e-7, "image_norm_eps": 1e-6}
    )
    exported, _ = write(model, tmp_path)
    assert exported.lost == (
        "bridge.norm_eps 1e-07: LAVIS computes with 1e-12",
        "bridge.image_norm_eps 1e-06: LAVIS computes with 1e-05",
    )
    imported = Lavis().read(tmp_path / "out.pth")
    section = imported.model["bridge"]
    assert (section["heads"], section["norm_eps"], section["image_norm_eps"]) == (8, 1e-7, 1e-6)
    assert imported.towers["vision_encoder"].config["model_args"]["num_heads"] == 2
    assert not any("heads" in note or "Epsilons" in note for note in imported.notes)


@pytest.mark.parametrize("settings", [{"heads": 7}, {"heads": -1}, {"heads": "many"}, {"heads": 0.2}, [1], "words"])
def test_settings_that_cannot_be_are_passed_over(settings, tmp_path):
    write_lavis(tmp_path / "x.pth", "stage1")
    content = torch.load(tmp_path / "x.pth")
    torch.save(content | {"mmbridge": settings}, tmp_path / "x.pth")
    assert Lavis().read(tmp_path / "x.pth").model["bridge"]["heads"] == 2


def test_the_image_branch_is_whole_and_the_rest_as_far_as_it_was_trained(model_of, tmp_path):
    model = model_of("stage1")
    model.learned = {"bridge.queries", "bridge.match_head.weight"}
    exported, written = write(model, tmp_path)
    assert {"query_tokens", "ln_vision.weight", "itm_head.weight", POSITION_IDS} <= written.keys()
    assert not any("word_embeddings" in name or "cls" in name or "itm_head.bias" in name for name in written)
    left = len(model.bridge.published().tensors) - len(written) + 1
    assert f"{left} tensors of the Q-Former that no stage has trained are left out." in exported.notes


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(draw=st.data())
def test_every_learned_tensor_is_in_the_file_and_comes_back(draw, small_model, tmp_path):
    model = small_model
    names = sorted(name for name in model.tensors() if name.startswith("bridge."))
    model.learned = set(draw.draw(st.lists(st.sampled_from(names), min_size=1)))
    exported, _ = write(model, tmp_path)
    again = Lavis().read(tmp_path / "out.pth")
    tensors = model.tensors()
    for ours, theirs in exported.renamed.items():
        assert again.bridge[theirs].equal(tensors[ours])
    assert model.learned <= exported.renamed.keys()
    assert again.renamed.keys() >= set(exported.renamed.values())


def test_untrained_encoders_and_language_models_are_told_not_stored(model_of, tmp_path):
    model = model_of("opt")
    exported, written = write(model, tmp_path)
    assert not any(name.startswith(("visual_encoder", "opt_model")) for name in written)
    notes = " ".join(exported.notes)
    assert "set `vit_model: eva_clip_g` at the width 176, which its code does not build, and `image_size: 28`" in notes
    assert "set `opt_model` to the one it was trained with" in notes
    assert "it must build layers 3, width 128, heads 2, intermediate 96, positions 40" in notes


def test_an_untrained_projection_is_left_out(model_of, tmp_path):
    model = model_of("t5")
    model.learned = {name for name in model.learned if not name.startswith("projection")}
    exported, written = write(model, tmp_path)
    assert not any("t5" in name for name in written)
    assert "The projection was not trained and is left out." in exported.notes


def test_a_trained_language_model_is_lost_by_name(model_of, tmp_path):
    model = model_of("t5")
    model.learned.add("language_model.table.weight")
    model.language_model.config["dense_act_fn"] = "gelu_new"
    exported, _ = write(model, tmp_path)
    assert exported.lost == (
        "language_model.dense_act_fn gelu_new: LAVIS computes the exact GELU",
        "language_model.*: 1 tensors that were trained; LAVIS loads the published language model",
    )


def test_an_encoder_of_another_depth_than_lavis_builds_is_told(model_of, tmp_path, monkeypatch):
    model = model_of("stage1")
    monkeypatch.setitem(lavis_tower.KEPT, 176, 2)
    assert write(model, tmp_path)[0].lost == ("vision_encoder: 3 blocks; LAVIS builds 2",)


def test_a_trained_tensor_without_a_name_there_is_lost_by_name(model_of, tmp_path):
    model = model_of("stage1")
    model.bridge.register_buffer("centre", torch.ones(1))  # published() gives parameters only
    model.learned.add("bridge.centre")
    exported, _ = write(model, tmp_path)
    assert exported.lost == ("bridge.centre",)


@pytest.mark.parametrize(("model_type", "what"), [("llama", "a llama"), (None, "a Speaker")])
def test_a_language_model_that_lavis_has_not_is_refused(model_type, what, model_of, tmp_path):
    model = model_of("opt")
    model.language_model = Speaker(32, model_type)
    with pytest.raises(UserError, match=f"OPT or FlanT5, and this is {what}"):
        write(model, tmp_path)
    model.learned = {name for name in model.learned if not name.startswith("projection")}
    write(model, tmp_path)  # nobody asks for it then


def test_a_bridge_that_lavis_has_not_is_refused(model_of, tmp_path):
    encoder = model_of("opt").vision_encoder
    with pytest.raises(UserError, match="no bridge but the Q-Former, and this is a Mlp"):
        write(BridgedModel(encoder, build_mlp(MlpOptions(), encoder.width)), tmp_path)


def foreign_vit():
    return build_timm_vit(TimmViTOptions(weights="random", architecture="vit_tiny_patch16_224", image_size=32))


def test_a_foreign_encoder_is_lost_while_frozen_and_refused_when_trained(tmp_path):
    vit = foreign_vit()
    imported = Lavis().read(write_lavis(tmp_path / "source.pth", "stage1", encoder=192))
    model = whole(imported, vit)
    exported, _ = write(model, tmp_path)
    assert len(exported.lost) == 1
    assert exported.lost[0].startswith("vision_encoder: LAVIS has no such encoder (it is neither ViT-g nor a CLIP")
    model.learned.add("vision_encoder.vit.cls_token")
    with pytest.raises(UserError, match="the trained encoder has no place in LAVIS: it is neither ViT-g nor a CLIP"):
        write(model, tmp_path)


@pytest.mark.parametrize(
    ("kind", "change", "lost"),
    [
        ("retrieval", {"norm_eps": 1e-5}, "vision_encoder.norm_eps 1e-05: LAVIS computes with 1e-06"),
        ("retrieval", {"pretrained_cfg": {"mean": [0.5, 0.5, 0.5]}}, r"vision_encoder.mean [0.5, 0.5, 0.5]: LAVIS"),
        ("retrieval_clip", {"preprocess_cfg": {"interpolation": "bilinear"}}, "vision_encoder.interpolation bilinear"),
    ],
)
def test_settings_of_an_encoder_that_lavis_fixes_are_lost_by_name(kind, change, lost, model_of, tmp_path, monkeypatch):
    model = model_of(kind)
    published = model.vision_encoder.published()
    changed = type(published)(published.layout, dict(published.config) | change, published.tensors)
    monkeypatch.setattr(model.vision_encoder, "published", lambda: changed)
    exported, _ = write(model, tmp_path)
    assert len(exported.lost) == 1
    assert exported.lost[0].startswith(lost)


@pytest.mark.parametrize(
    ("kind", "change", "reason"),
    [
        ("retrieval", {"activation": "SiLU"}, "ViT-g computes the exact GELU, and this SiLU"),
        ("retrieval_clip", {"model_cfg": {"quick_gelu": False}}, "CLIP computes QuickGELU, and this the exact one"),
    ],
)
def test_a_trained_encoder_with_another_activation_is_refused(kind, change, reason, model_of, tmp_path, monkeypatch):
    model = model_of(kind)
    published = model.vision_encoder.published()
    changed = type(published)(published.layout, dict(published.config) | change, published.tensors)
    monkeypatch.setattr(model.vision_encoder, "published", lambda: changed)
    with pytest.raises(UserError, match=reason):
        write(model, tmp_path)


def test_a_tower_with_more_than_lavis_has_is_refused(model_of, tmp_path, monkeypatch):
    model = model_of("retrieval")
    published = model.vision_encoder.published()
    more = dict(published.tensors) | {"blocks.0.gamma_1": torch.ones(176)}
    monkeypatch.setattr(model.vision_encoder, "published", lambda: type(published)(published.layout, {}, more))
    with pytest.raises(UserError, match=r"it has blocks\.0\.gamma_1, which LAVIS' have not"):
        write(model, tmp_path)
