"""The encoder of a finetune, built from what `lavis` made of it, against the original's formulas written out."""

import pytest
import torch
from mmbridge_blip2.lavis.file import LavisFile
from mmbridge_blip2.lavis.format import Lavis
from mmbridge_blip2.lavis.importing import import_file
from mmbridge_registry import UserError
from PIL import Image
from torch.nn import functional as F
from torch.testing import assert_close
from toys import lavis_files
from toys.lavis_files import write_lavis
from toys.lavis_parts import encoder_of

HEADS = 2


def attention(rows, qkv, bias, out):
    q, k, v = F.linear(rows, qkv, bias).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
    scores = q @ k.mT / q.shape[-1] ** 0.5
    return F.linear((scores.softmax(-1) @ v).transpose(1, 2).flatten(2), *out)


def eva(s, pixels, blocks):
    """EVA-CLIP in LAVIS: pre-norm blocks with eps 1e-6, exact GELU, bias for q and v only, no norm at the end."""
    patches = F.conv2d(pixels, s["patch_embed.proj.weight"], s["patch_embed.proj.bias"], stride=14).flatten(2).mT
    rows = torch.cat([s["cls_token"].expand(len(pixels), -1, -1), patches], 1) + s["pos_embed"]
    for number in range(blocks):
        b = {key.removeprefix(f"blocks.{number}."): value for key, value in s.items()}
        bias = torch.cat([b["attn.q_bias"], torch.zeros_like(b["attn.q_bias"]), b["attn.v_bias"]])
        seen = F.layer_norm(rows, rows.shape[-1:], b["norm1.weight"], b["norm1.bias"], 1e-6)
        rows = rows + attention(seen, b["attn.qkv.weight"], bias, (b["attn.proj.weight"], b["attn.proj.bias"]))
        seen = F.layer_norm(rows, rows.shape[-1:], b["norm2.weight"], b["norm2.bias"], 1e-6)
        up = F.gelu(F.linear(seen, b["mlp.fc1.weight"], b["mlp.fc1.bias"]))
        rows = rows + F.linear(up, b["mlp.fc2.weight"], b["mlp.fc2.bias"])
    return rows


def clip(s, pixels, blocks):
    """CLIP in LAVIS: norm before the blocks, eps 1e-5, QuickGELU, no norm at the end."""
    patches = F.conv2d(pixels, s["conv1.weight"], stride=14).flatten(2).mT
    rows = torch.cat([s["class_embedding"].expand(len(pixels), 1, -1), patches], 1) + s["positional_embedding"]
    rows = F.layer_norm(rows, rows.shape[-1:], s["ln_pre.weight"], s["ln_pre.bias"])
    for number in range(blocks):
        b = {key.removeprefix(f"transformer.resblocks.{number}."): value for key, value in s.items()}
        seen = F.layer_norm(rows, rows.shape[-1:], b["ln_1.weight"], b["ln_1.bias"])
        out = (b["attn.out_proj.weight"], b["attn.out_proj.bias"])
        rows = rows + attention(seen, b["attn.in_proj_weight"], b["attn.in_proj_bias"], out)
        seen = F.layer_norm(rows, rows.shape[-1:], b["ln_2.weight"], b["ln_2.bias"])
        up = F.linear(seen, b["mlp.c_fc.weight"], b["mlp.c_fc.bias"])
        rows = rows + F.linear(up * torch.sigmoid(1.702 * up), b["mlp.c_proj.weight"], b["mlp.c_proj.bias"])
    return rows


@pytest.mark.parametrize(("kind", "formula"), [("caption_opt", eva), ("retrieval", eva), ("retrieval_clip", clip)])
@torch.no_grad()
def test_a_finetuned_encoder_computes_what_it_computed_there(kind, formula, tmp_path):
    # 176 * (207 / 176) is a little below 207: a library that multiplies and cuts would build a network of 206.
    file = write_lavis(tmp_path / "x.pth", kind, image=42, encoder_inner=207)
    imported = Lavis().read(file)
    encoder = encoder_of(imported, tmp_path / "encoder").double()
    assert (encoder.image_size, encoder.num_tokens) == (42, 10)
    prefix = "visual_encoder."
    state = {
        name.removeprefix(prefix): tensor.double()
        for name, tensor in torch.load(file)["model"].items()
        if name.startswith(prefix)
    }
    pixels = torch.randn(2, 3, 42, 42, dtype=torch.float64)
    assert_close(encoder(pixels), formula(state, pixels, 3), rtol=1e-10, atol=1e-10)
    assert any("2, as wide as in LAVIS' encoder" in note for note in imported.notes)


def test_pixels_are_prepared_as_lavis_does(tmp_path):
    encoder = encoder_of(Lavis().read(write_lavis(tmp_path / "x.pth", "retrieval")), tmp_path / "encoder")
    pixel = encoder.transform(train=False)(Image.new("RGB", (5, 9), (255, 0, 128)))[:, 3, 3]
    mean, std = torch.tensor([0.48145466, 0.4578275, 0.40821073]), torch.tensor([0.26862954, 0.26130258, 0.27577711])
    assert_close(pixel, (torch.tensor([1.0, 0.0, 128 / 255]) - mean) / std)


def test_mixed_dtypes_become_the_widest_and_equal_ones_stay(tmp_path):
    state = lavis_files.state("retrieval")
    halved = {
        name: tensor.half() if name.startswith("visual_encoder") and "norm" not in name else tensor
        for name, tensor in state.items()
    }
    torch.save(halved, tmp_path / "mixed.pth")
    imported = Lavis().read(tmp_path / "mixed.pth")
    assert imported.model["vision_encoder"]["dtype"] == "float32"
    assert "The encoder is stored in float16 and float32; here all of it is float32." in imported.notes
    assert imported.towers["vision_encoder"].tensors["cls_token"].dtype == torch.float16
    halved = {name: tensor.half() if name.startswith("visual_encoder") else tensor for name, tensor in state.items()}
    torch.save(halved, tmp_path / "half.pth")
    assert Lavis().read(tmp_path / "half.pth").model["vision_encoder"]["dtype"] == "float16"


@pytest.mark.parametrize(
    ("kind", "width", "whole", "kept"), [("retrieval", 1408, 40, 39), ("retrieval_clip", 1024, 24, 23)]
)
def test_blocks_that_lavis_does_not_build_are_left_by_name(kind, width, whole, kept, tmp_path, monkeypatch):
    monkeypatch.setattr(lavis_files, "draw", lambda *shape: torch.zeros(1).half().expand(shape))
    sizes = {"encoder": width, "encoder_blocks": whole, "encoder_inner": 1, "width": 64}
    state = lavis_files.state(kind, **sizes)
    blocks = "visual_encoder.blocks." if width == 1408 else "visual_encoder.transformer.resblocks."
    imported = import_file(LavisFile(state, {}, ()), tmp_path)
    last = {name for name in state if name.startswith(f"{blocks}{whole - 1}.")}
    assert last
    assert set(imported.unused) - {"Qformer.bert.embeddings.position_ids"} == last
    config = imported.towers["vision_encoder"].config
    depth = config["model_args"]["depth"] if width == 1408 else config["model_cfg"]["vision_cfg"]["layers"]
    assert depth == kept
    assert any("LAVIS' encoder ends before" in note for note in imported.notes)


def test_an_encoder_of_another_width_than_the_bridge_reads_is_refused(tmp_path):
    state = lavis_files.state("opt", encoder=1408) | lavis_files.clip_encoder(lavis_files.CLIP)
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(UserError, match=r"is 128 wide .* but its Q-Former reads features of 1408 \(ViT-g\)"):
        Lavis().read(tmp_path / "x.pth")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("visual_encoder.blocks.1.attn.q_bias"), r"lacks blocks\.1\.attn\.q_bias\."),
        (lambda s: s.pop("visual_encoder.pos_embed"), r"lacks pos_embed\."),
        (lambda s: s.update({"visual_encoder.pos_embed": torch.ones(1, 7, 176)}), "6 places, which is no square"),
        (lambda s: s.update({"visual_encoder.blocks.2.mlp.fc1.bias": torch.ones(3)}), r"shape \[3\].* want \[200\]"),
        (lambda s: [s.pop(n) for n in list(s) if ".blocks.1." in n], r"blocks\.\* does not count from 0"),
    ],
)
def test_a_damaged_encoder_is_refused_by_name(change, message, tmp_path):
    state = lavis_files.state("retrieval")
    change(state)
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(UserError, match=message):
        Lavis().read(tmp_path / "x.pth")
