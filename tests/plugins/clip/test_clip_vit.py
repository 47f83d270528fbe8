"""`clip_vit` against open_clip's own block outputs, transformers' CLIP, and formulas written out."""

import json
import math
import pickle
import time
from pathlib import Path

import open_clip
import pytest
import torch
from mmbridge_clip import ClipViTOptions, build_clip_vit
from mmbridge_registry import UserError
from PIL import Image
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import nn

torch.set_num_threads(1)

CONFIG = {
    "embed_dim": 24,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 32, "head_width": 16, "layers": 4},
    "text_cfg": {"context_length": 5, "vocab_size": 11, "width": 16, "heads": 2, "layers": 1},
}
PREPROCESS = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "interpolation": "bicubic", "resize_mode": "squash"}


def write(folder: Path, clip: nn.Module, only_visual: bool = False, **changes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    keep = {k: v.contiguous() for k, v in clip.state_dict().items() if k.startswith("visual.") or not only_visual}
    save_file(keep, folder / "open_clip_model.safetensors")
    config = {"model_cfg": CONFIG | changes, "preprocess_cfg": PREPROCESS}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def clip() -> open_clip.CLIP:
    torch.manual_seed(0)
    model = open_clip.CLIP(**CONFIG).eval()
    with torch.no_grad():  # biases and norms start at constants, which would hide a wrong one
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


@pytest.fixture
def folder(clip, tmp_path) -> Path:
    return write(tmp_path / "tower", clip)


def build(folder: object, **options):
    return build_clip_vit(ClipViTOptions(weights=str(folder), **options))


def block_output(clip: nn.Module, pixels: torch.Tensor, index: int) -> torch.Tensor:
    """What a hook sees behind one block of the whole, uncut model."""
    seen = []
    hook = clip.visual.transformer.resblocks[index].register_forward_hook(lambda *args: seen.append(args[-1]))
    with torch.no_grad():
        clip.visual(pixels)
    hook.remove()
    return seen[0]


@pytest.mark.parametrize(("layer", "index"), [(-2, 2), (-1, 3), (0, 0), (-4, 0), (1, 1)])
def test_features_are_the_named_block_of_the_uncut_model(clip, folder, layer, index):
    encoder, pixels = build(folder, output_layer=layer), torch.randn(3, 3, 32, 32)
    features = encoder(pixels)
    assert features.shape == (3, encoder.num_tokens, encoder.width) == (3, 17, 32)
    want = block_output(clip, pixels, index)
    assert (features - want).norm() < 1e-5 * want.norm()
    assert len(encoder.visual.transformer.resblocks) == index + 1
    assert not any(name.startswith(("visual.ln_post", "visual.proj")) for name, _ in encoder.named_parameters())


def test_float64_features_agree_to_rounding(clip, folder):
    pixels = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    want = block_output(open_clip_double(clip), pixels, 2)
    torch.testing.assert_close(build(folder).double()(pixels), want, rtol=0, atol=1e-12)


def open_clip_double(clip):
    double = open_clip.CLIP(**CONFIG).double().eval()
    double.load_state_dict(clip.state_dict())
    return double


def test_equals_transformers_second_last_hidden_state(tmp_path):
    """The LAVIS tower is HF's `hidden_states[-2]`; here HF's random weights are renamed into open_clip's names."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    torch.manual_seed(1)
    shape = {"hidden_size": 32, "intermediate_size": 128, "num_hidden_layers": 4, "num_attention_heads": 2}
    hf = CLIPVisionModel(CLIPVisionConfig(**shape, image_size=32, patch_size=8, projection_dim=24)).eval()
    with torch.no_grad():
        for parameter in hf.parameters():
            parameter.copy_(0.2 * torch.randn_like(parameter))
    tensors = renamed(hf.state_dict())
    tensors |= {"visual.ln_post.weight": torch.ones(32), "visual.proj": torch.ones(32, 24)}
    folder = tmp_path / "hf"
    folder.mkdir()
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG}))
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        want = hf(pixels, output_hidden_states=True).hidden_states[-2]
    torch.testing.assert_close(build(folder)(pixels), want, rtol=1e-5, atol=1e-5)


def renamed(hf: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    hf = {name.removeprefix("vision_model."): tensor for name, tensor in hf.items()}
    out = {
        "class_embedding": hf["embeddings.class_embedding"],
        "positional_embedding": hf["embeddings.position_embedding.weight"],
        "conv1.weight": hf["embeddings.patch_embedding.weight"],
    }
    for kind in ("weight", "bias"):
        out[f"ln_pre.{kind}"] = hf[f"pre_layrnorm.{kind}"]
        for i in range(4):
            old, new = f"encoder.layers.{i}.", f"transformer.resblocks.{i}."
            out[f"{new}attn.in_proj_{kind}"] = torch.cat([hf[f"{old}self_attn.{p}_proj.{kind}"] for p in "qkv"])
            out[f"{new}attn.out_proj.{kind}"] = hf[f"{old}self_attn.out_proj.{kind}"]
            for ours, theirs in {"ln_1": "layer_norm1", "ln_2": "layer_norm2"}.items():
                out[f"{new}{ours}.{kind}"] = hf[f"{old}{theirs}.{kind}"]
            for ours, theirs in {"c_fc": "fc1", "c_proj": "fc2"}.items():
                out[f"{new}mlp.{ours}.{kind}"] = hf[f"{old}mlp.{theirs}.{kind}"]
    return {f"visual.{name}": tensor for name, tensor in out.items()}


def test_visual_half_alone_and_a_single_file_load_the_same(clip, folder, tmp_path):
    pixels = torch.randn(1, 3, 32, 32)
    want = build(folder)(pixels)
    alone = write(tmp_path / "alone", clip, only_visual=True)
    assert torch.equal(build(alone)(pixels), want)
    assert torch.equal(build(alone / "open_clip_model.safetensors")(pixels), want)


def test_quick_gelu_changes_the_features_and_is_taken_from_the_config(clip, folder):
    pixels = torch.randn(2, 3, 32, 32)
    quick, erf = build(folder)(pixels), build(folder, quick_gelu=False)(pixels)
    assert (quick - erf).norm() / quick.norm() > 1e-3


def test_an_architecture_with_the_other_activation_is_refused(clip, tmp_path):
    folder = write(tmp_path / "quick", clip)
    with pytest.raises(UserError, match=r"ViT-B-32 has erf GELU.*own open_clip_config.json says QuickGELU") as caught:
        build(folder, architecture="ViT-B-32")
    assert "with '-quickgelu'" in str(caught.value)
    folder = write(tmp_path / "erf", clip, quick_gelu=False)
    with pytest.raises(UserError, match=r"ViT-B-32-quickgelu has QuickGELU.*says erf GELU"):
        build(folder, architecture="ViT-B-32-quickgelu")


def test_published_quick_gelu_weights_are_known_by_their_name(tmp_path):
    """`ViT-L-14` with OpenAI's weights loads without a murmur and is a little wrong everywhere."""
    file = tmp_path / "vit_large_patch14_clip_224.openai.safetensors"
    save_file({"visual.conv1.weight": torch.zeros(1)}, file)
    with pytest.raises(UserError, match="weights called 'openai' want QuickGELU"):
        build(file, architecture="ViT-L-14")
    for sure in ({"architecture": "ViT-L-14", "quick_gelu": False}, {"architecture": "ViT-L-14-quickgelu"}):
        with pytest.raises(UserError, match="tensors are not those"):  # one step further: the GELU is accepted
            build(file, **sure)
    other = file.rename(tmp_path / "laion2b_s32b_b82k.safetensors")
    with pytest.raises(UserError, match="tensors are not those"):
        build(other, architecture="ViT-L-14")


def test_positions_are_resized_with_aligned_corners(clip, folder):
    encoder = build(folder, image_size=48)
    table = clip.visual.positional_embedding.detach()
    got = encoder.visual.positional_embedding.detach()
    assert encoder.image_size == 48
    assert encoder.num_tokens == 37
    assert torch.equal(got[0], table[0])
    torch.testing.assert_close(got[1:], by_formula(table[1:], 4, 6), rtol=1e-4, atol=1e-5)
    assert encoder(torch.randn(1, 3, 48, 48)).shape == (1, 37, 32)


def by_formula(grid: torch.Tensor, old: int, new: int) -> torch.Tensor:
    """Keys' cubic kernel (a = -3/4) on corner-aligned coordinates, edges repeated."""

    def kernel(x: float, a: float = -0.75) -> float:
        x = abs(x)
        if x <= 1:
            return (a + 2) * x**3 - (a + 3) * x**2 + 1
        return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0

    matrix = torch.zeros(new, old, dtype=torch.float64)
    for row in range(new):
        at = row * (old - 1) / (new - 1)
        for tap in range(math.floor(at) - 1, math.floor(at) + 3):
            matrix[row, min(max(tap, 0), old - 1)] += kernel(at - tap)
    square = grid.double().reshape(old, old, -1)
    return torch.einsum("ai,bj,ijw->abw", matrix, matrix, square).reshape(new * new, -1).float()


def test_dtype_and_half_precision_files(clip, tmp_path):
    folder = write(tmp_path / "half", clip)
    file = folder / "open_clip_model.safetensors"
    save_file({name: tensor.half() for name, tensor in load_file(file).items()}, file)
    pixels = torch.randn(1, 3, 32, 32)
    assert build(folder)(pixels).dtype == torch.float32
    low = build(folder, dtype="bfloat16")
    assert {parameter.dtype for parameter in low.parameters()} == {torch.bfloat16}
    assert low(pixels).dtype == torch.bfloat16
    assert (low(pixels).float() - build(folder)(pixels)).norm() < 0.05 * build(folder)(pixels).norm()
    assert torch.bfloat16 in low.safe_dtypes


def test_frozen_stays_in_eval_mode(folder):
    encoder = build(folder)
    assert not encoder.training
    assert encoder.train().training
    encoder.requires_grad_(False)
    encoder.train()
    assert not any(module.training for module in encoder.modules())
    assert not encoder(torch.randn(1, 3, 32, 32)).requires_grad


def test_random_towers_and_saving_them(tmp_path):
    encoder = build("random", architecture="ViT-S-32-alt", output_layer=0)
    again = build("random", architecture="ViT-S-32-alt", output_layer=0)
    pixels = torch.randn(1, 3, 224, 224)
    assert not torch.equal(encoder(pixels), again(pixels))
    again.load_state_dict(encoder.state_dict())
    assert torch.equal(encoder(pixels), again(pixels))


def test_vit_l_on_meta_is_quick_and_has_the_papers_size():
    start = time.process_time()
    with torch.device("meta"):
        encoder = build("random", architecture="ViT-L-14-quickgelu")
    assert time.process_time() - start < 2
    width, mlp, blocks = 1024, 4096, 23
    block = 4 * width * width + 4 * width + 2 * width * mlp + mlp + width + 4 * width
    stem = width + 257 * width + 3 * 14 * 14 * width + 2 * width
    assert sum(p.numel() for p in encoder.parameters()) == stem + blocks * block == 290_581_504
    assert (encoder.width, encoder.num_tokens, encoder.image_size) == (1024, 257, 224)


def test_a_local_tower_on_meta_needs_no_tensors(folder):
    (folder / "open_clip_model.safetensors").unlink()
    with torch.device("meta"):
        encoder = build(folder)
    assert {parameter.device.type for parameter in encoder.parameters()} == {"meta"}


def test_a_published_tower_can_be_planned_before_it_is_fetched():
    assert ClipViTOptions().architecture == "ViT-L-14-quickgelu"
    options = ClipViTOptions(weights="timm/vit_large_patch14_clip_336.openai@main").model_copy(
        update={"weights": "random"}
    )
    with torch.device("meta"):
        assert build_clip_vit(options).num_tokens == 577
    assert ClipViTOptions(weights="someone/tower").architecture is None


class TestMistakes:
    def test_missing_path(self, tmp_path):
        with pytest.raises(UserError, match=r"nowhere.*no weights"):
            build(tmp_path / "nowhere", architecture="ViT-B-32")

    def test_pickles_are_not_read(self, folder):
        (folder / "open_clip_model.safetensors").rename(folder / "open_clip_pytorch_model.bin")
        with pytest.raises(UserError, match="pickled weights are never read"):
            build(folder)

    def test_broken_file(self, folder):
        (folder / "open_clip_model.safetensors").write_bytes(b"no tensors")
        with pytest.raises(UserError, match="no readable safetensors"):
            build(folder)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda t: t.pop("visual.ln_pre.weight"), "ln_pre.weight is missing"),
            (lambda t: t.update({"visual.extra": torch.ones(1)}), "extra is unknown"),
            (lambda t: t.update({"visual.conv1.weight": torch.ones(3, 3)}), r"conv1.weight is \[3, 3\], not \[32, 3"),
        ],
    )
    def test_wrong_tensors_are_named_with_their_file(self, folder, change, message):
        file = folder / "open_clip_model.safetensors"
        tensors = load_file(file)
        change(tensors)
        save_file(tensors, file)
        with pytest.raises(UserError, match=message) as caught:
            build(folder)
        assert str(file) in str(caught.value)

    def test_another_layout_is_recognised(self, folder):
        save_file({"vision_model.post_layernorm.bias": torch.ones(1)}, folder / "open_clip_model.safetensors")
        with pytest.raises(UserError, match="layout of transformers"):
            build(folder)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({}, "do not say which architecture"),
            ({"architecture": "ViT-L-14-quickgleu"}, "did you mean 'ViT-L-14-quickgelu'"),
            ({"architecture": "RN50"}, "no vision transformer"),
            ({"architecture": "convnext_base"}, "no vision transformer"),
            ({"architecture": "ViT-B-32", "image_size": 225}, "not filled by patches of 32"),
        ],
    )
    def test_geometry(self, options, message):
        with pytest.raises(UserError, match=message):
            build("random", **options)

    def test_layer_out_of_range(self, folder):
        with pytest.raises(UserError, match="no block 4"):
            build(folder, output_layer=4)

    def test_unknown_option(self):
        with pytest.raises(ValidationError):
            ClipViTOptions(layer=3)  # pyright: ignore


class TestTransform:
    picture = Image.effect_mandelbrot((50, 40), (-3, -2.5, 2, 2.5), 100).convert("RGB")

    def test_evaluation_resizes_straight_to_the_square(self, folder):
        pixels = build(folder).transform(train=False)(self.picture)
        small = self.picture.resize((32, 32), Image.Resampling.BICUBIC)
        bytes_ = torch.frombuffer(bytearray(small.tobytes()), dtype=torch.uint8).reshape(32, 32, 3)
        mean, std = torch.tensor(PREPROCESS["mean"]), torch.tensor(PREPROCESS["std"])
        want = ((bytes_ / 255 - mean) / std).permute(2, 0, 1)
        torch.testing.assert_close(pixels, want)

    def test_training_is_a_function_of_torchs_seed(self, folder):
        transform = pickle.loads(pickle.dumps(build(folder).transform(train=True)))
        draws = []
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            draws.append(transform(self.picture))
        assert draws[0].shape == (3, 32, 32)
        assert draws[0].dtype == torch.float32
        assert torch.equal(draws[0], draws[1])
        assert not torch.equal(draws[0], draws[2])

    def test_crop_keeps_the_share_of_the_area_that_options_name(self, folder):
        from torchvision.transforms import v2

        crop = build(folder, crop_scale=(0.3, 0.4)).transform(train=True).transforms[1]
        assert isinstance(crop, v2.RandomResizedCrop)
        shares = [p["height"] * p["width"] / 2000 for p in (crop.make_params([self.picture]) for _ in range(50))]
        assert 0.25 < min(shares) < max(shares) < 0.45

    @pytest.mark.parametrize("train", [False, True])
    def test_equals_torchvisions_own_composition(self, folder, train):
        from skimage import data
        from torchvision.transforms import v2

        photograph = Image.fromarray(data.chelsea())
        size, mode = (32, 32), v2.InterpolationMode.BICUBIC
        crop = [v2.RandomResizedCrop(size, (0.5, 1.0), interpolation=mode), v2.RandomHorizontalFlip()]
        rest = [v2.PILToTensor(), v2.ToDtype(torch.float32, True), v2.Normalize(PREPROCESS["mean"], PREPROCESS["std"])]
        plain = v2.Compose([*(crop if train else [v2.Resize(size, interpolation=mode)]), *rest])
        transform, steps = build(folder).transform(train), torch.tensor(PREPROCESS["std"]).view(3, 1, 1) * 255
        apart = []
        for seed in range(20):
            drawn = []
            for each in (transform, plain):
                torch.manual_seed(seed)
                drawn.append(each(photograph))
            apart.append(((drawn[0] - drawn[1]) * steps).abs())
        if train:  # the same crops and flips, resized by torch instead of Pillow
            assert torch.stack(apart).max() < 2.1  # of 255
            assert torch.stack(apart).mean() < 0.02
        else:
            assert not torch.stack(apart).any()

    @pytest.mark.parametrize("size", [(300, 300), (400, 150), (150, 500), (77, 60)])
    def test_no_crop_is_enlarged_from_a_picture_of_the_side_that_is_needed(self, folder, size):
        transform = build(folder, crop_scale=(0.2, 1.0)).transform(train=True)
        scaled = [round(side * transform.needed_side / min(size)) for side in size]
        crops = [transform.transforms[1].make_params([Image.new("RGB", scaled)]) for _ in range(300)]
        assert min(min(crop["height"], crop["width"]) for crop in crops) >= 32
        assert build(folder).transform(train=False).needed_side == 32

    def test_plain_resize_keeps_left_and_right(self, folder):
        encoder = build(folder, augment="resize")
        assert torch.equal(encoder.transform(train=True)(self.picture), encoder.transform(train=False)(self.picture))

    def test_without_a_folder_the_normalisation_is_clips(self):
        encoder = build("random", architecture="ViT-B-32")
        black = encoder.transform(train=False)(Image.new("RGB", (9, 9)))
        torch.testing.assert_close(
            black[:, 0, 0], -torch.tensor([0.48145466 / 0.26862954, 0.4578275 / 0.26130258, 0.40821073 / 0.27577711])
        )


def test_the_shipped_tiny_tower_loads():
    import mmbridge_tiny_world

    folder = Path(mmbridge_tiny_world.__file__).parent / "weights" / "vit"
    if not (folder / "open_clip_model.safetensors").is_file():
        pytest.skip("the tower is not trained yet")
    encoder = build(folder)
    features = encoder(torch.randn(2, 3, 64, 64))
    assert features.shape == (2, encoder.num_tokens, encoder.width)
    assert features.isfinite().all()
