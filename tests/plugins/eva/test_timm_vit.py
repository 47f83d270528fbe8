"""`eva_vit_g` and `timm_vit` against timm's own block outputs and formulas written out."""

import json
import math
import pickle
import time
from pathlib import Path

import pytest
import timm
import torch
from mmbridge_eva import EVA_VIT_G, EvaViTGOptions, TimmViTOptions, build_eva_vit_g, build_timm_vit
from mmbridge_eva import encoder as encoder_module
from mmbridge_registry import UserError
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

torch.set_num_threads(1)

# Small towers of timm's two families; EVA's is BLIP-2's own code with fewer and narrower blocks.
TINY = {
    "tiny_eva": {"patch_size": 8, "img_size": 32, "embed_dim": 32, "depth": 4, "num_heads": 2, "mlp_ratio": 3},
    "tiny_vit": {"patch_size": 8, "img_size": 32, "embed_dim": 32, "depth": 4, "num_heads": 2, "num_classes": 7},
}
FAMILY = {"tiny_eva": EVA_VIT_G, "tiny_vit": "vit_tiny_patch16_224"}
PREPROCESS = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "interpolation": "bicubic"}


@pytest.fixture(autouse=True)
def tiny_architectures(monkeypatch):
    """Let timm build the tiny towers under their own names."""
    whole = timm.create_model

    def create_model(name: str, **options):
        return whole(FAMILY[name], **(TINY[name] | options)) if name in TINY else whole(name, **options)

    monkeypatch.setattr(encoder_module.timm, "create_model", create_model)
    monkeypatch.setattr(timm, "is_model", lambda name, known=timm.is_model: name in TINY or known(name))


def make(name: str) -> nn.Module:
    torch.manual_seed(0)
    model = timm.create_model(name).eval()
    with torch.no_grad():  # biases and norms start at constants, which would hide a wrong one
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


@pytest.fixture(params=sorted(TINY))
def name(request) -> str:
    return request.param


@pytest.fixture
def model(name) -> nn.Module:
    return make(name)


@pytest.fixture
def folder(model, name, tmp_path) -> Path:
    save_file({key: tensor.contiguous() for key, tensor in model.state_dict().items()}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": name, "pretrained_cfg": PREPROCESS}))
    return tmp_path


def build(folder: object, **options):
    return build_timm_vit(TimmViTOptions(weights=str(folder), **options))


def block_output(model: nn.Module, pixels: torch.Tensor, index: int) -> torch.Tensor:
    """What a hook sees behind one block of the whole, uncut model."""
    seen = []
    hook = model.blocks[index].register_forward_hook(lambda *args: seen.append(args[-1]))
    with torch.no_grad():
        model(pixels)
    hook.remove()
    return seen[0]


@pytest.mark.parametrize(("layer", "index"), [(-2, 2), (-1, 3), (0, 0), (-4, 0), (1, 1)])
def test_features_are_the_named_block_of_the_uncut_model(model, folder, layer, index):
    encoder, pixels = build(folder, output_layer=layer), torch.randn(3, 3, 32, 32)
    features = encoder(pixels)
    assert features.shape == (3, encoder.num_tokens, encoder.width) == (3, 17, 32)
    want = block_output(model, pixels, index)
    assert (features - want).norm() < 1e-5 * want.norm()
    names = [name for name, _ in encoder.named_parameters()]
    assert not any(
        name.startswith(("vit.norm.", "vit.fc_norm", "vit.head", f"vit.blocks.{index + 1}")) for name in names
    )


def test_float64_features_agree_to_rounding(model, folder):
    pixels = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    want = block_output(model.double(), pixels, 2)
    torch.testing.assert_close(build(folder).double()(pixels), want, rtol=0, atol=1e-12)


def test_the_class_token_comes_first(model, folder):
    """With all patches alike and no positions, every token but the class token is the same."""
    encoder = build(folder)
    with torch.no_grad():
        encoder.vit.pos_embed.zero_()
    features = encoder(torch.ones(1, 3, 32, 32))[0]
    torch.testing.assert_close(features[1:], features[1:2].expand(16, -1), rtol=1e-4, atol=1e-4)
    assert (features[0] - features[1]).norm() > 0.1


def test_positions_are_resized_bicubically_without_antialiasing(model, folder):
    for size, new in ((48, 6), (16, 2)):
        encoder = build(folder, image_size=size)
        table, got = model.pos_embed.detach()[0], encoder.vit.pos_embed.detach()[0]
        assert (encoder.image_size, encoder.num_tokens) == (size, new * new + 1)
        assert torch.equal(got[0], table[0])
        torch.testing.assert_close(got[1:], by_formula(table[1:], 4, new), rtol=1e-4, atol=1e-5)
        assert encoder(torch.randn(1, 3, size, size)).shape == (1, new * new + 1, 32)


def by_formula(grid: torch.Tensor, old: int, new: int) -> torch.Tensor:
    """Keys' cubic kernel (a = -3/4) at pixel centres, edges repeated, never widened when shrinking."""

    def kernel(x: float, a: float = -0.75) -> float:
        x = abs(x)
        if x <= 1:
            return (a + 2) * x**3 - (a + 3) * x**2 + 1
        return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0

    matrix = torch.zeros(new, old, dtype=torch.float64)
    for row in range(new):
        at = (row + 0.5) * old / new - 0.5
        for tap in range(math.floor(at) - 1, math.floor(at) + 3):
            matrix[row, min(max(tap, 0), old - 1)] += kernel(at - tap)
    square = grid.double().reshape(old, old, -1)
    return torch.einsum("ai,bj,ijw->abw", matrix, matrix, square).reshape(new * new, -1).float()


def test_dtype(folder):
    pixels = torch.randn(1, 3, 32, 32)
    exact, low = build(folder), build(folder, dtype="bfloat16")
    assert {parameter.dtype for parameter in low.parameters()} == {torch.bfloat16}
    assert low(pixels).dtype == torch.bfloat16
    assert (low(pixels).float() - exact(pixels)).norm() < 0.05 * exact(pixels).norm()


def test_frozen_stays_in_eval_mode(folder):
    encoder = build(folder)
    assert not encoder.training
    assert encoder.train().training
    encoder.requires_grad_(False)
    encoder.train()
    assert not any(module.training for module in encoder.modules())
    assert not encoder(torch.randn(1, 3, 32, 32)).requires_grad


def test_random_towers_and_saving_them(name):
    encoder, again = build("random", architecture=name), build("random", architecture=name)
    pixels = torch.randn(1, 3, 32, 32)
    assert not torch.equal(encoder(pixels), again(pixels))
    again.load_state_dict(encoder.state_dict())
    assert torch.equal(encoder(pixels), again(pixels))


@pytest.mark.parametrize(("size", "tokens", "parameters"), [(None, 257, 985_894_528), (364, 677, 986_485_888)])
def test_vit_g_on_meta_is_quick_and_has_the_published_size(size, tokens, parameters):
    start = time.process_time()
    with torch.device("meta"):
        encoder = build_eva_vit_g(EvaViTGOptions(weights="random", image_size=size))
    assert time.process_time() - start < 2
    assert sum(p.numel() for p in encoder.parameters()) == parameters  # LAVIS' ViT-g without ln_vision
    assert (encoder.width, encoder.num_tokens, encoder.image_size) == (1408, tokens, size or 224)
    assert len(encoder.vit.blocks) == 39
    assert encoder.safe_dtypes == {torch.float32, torch.bfloat16, torch.float16}


def test_vit_g_has_the_papers_inner_parts():
    with torch.device("meta"):
        block = build_eva_vit_g(EvaViTGOptions(weights="random")).vit.blocks[0]
    assert block.norm1.eps == 1e-6
    assert block.attn.num_heads == 16
    assert block.attn.k_bias.requires_grad is False
    assert block.mlp.fc1.out_features == 6144
    assert isinstance(block.mlp.act, nn.GELU)
    assert block.mlp.act.approximate == "none"


def test_a_local_tower_on_meta_needs_no_tensors(folder):
    (folder / "model.safetensors").unlink()
    with torch.device("meta"):
        encoder = build(folder)
    assert {parameter.device.type for parameter in encoder.parameters()} == {"meta"}


def test_rotary_tables_survive_the_build_on_meta(tmp_path):
    """EVA02 keeps its rotary table in a buffer that no file holds."""
    torch.manual_seed(0)
    architecture = "eva02_tiny_patch14_224"
    model = timm.create_model(architecture).eval()
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    pixels = torch.randn(1, 3, 224, 224)
    got = build(tmp_path, architecture=architecture, output_layer=1)(pixels)
    torch.testing.assert_close(got, block_output(model, pixels, 1), rtol=1e-5, atol=1e-5)


def test_a_hub_id_of_timm_names_the_architecture():
    options = TimmViTOptions(weights="timm/vit_tiny_patch16_224.augreg_in21k@main")
    assert options.architecture == "vit_tiny_patch16_224"
    with torch.device("meta"):
        assert build_timm_vit(options).width == 192
    assert TimmViTOptions(weights="someone/tower").architecture is None


class TestMistakes:
    def test_missing_path(self, tmp_path, name):
        with pytest.raises(UserError, match=r"nowhere.*no weights"):
            build(tmp_path / "nowhere", architecture=name)

    def test_pickles_are_not_read(self, folder):
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
        with pytest.raises(UserError, match="pickled weights are never read"):
            build(folder)

    def test_broken_file(self, folder):
        (folder / "model.safetensors").write_bytes(b"no tensors")
        with pytest.raises(UserError, match="no readable safetensors"):
            build(folder)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda t: t.pop("cls_token"), "cls_token is missing"),
            (lambda t: t.update({"extra": torch.ones(1)}), "extra is unknown"),
            (lambda t: t.update({"patch_embed.proj.bias": torch.ones(3)}), r"proj.bias is \[3\], not \[32\]"),
        ],
    )
    def test_wrong_tensors_are_named_with_their_file(self, folder, change, message):
        file = folder / "model.safetensors"
        tensors = load_file(file)
        change(tensors)
        save_file(tensors, file)
        with pytest.raises(UserError, match=message) as caught:
            build(folder)
        assert str(file) in str(caught.value)

    def test_another_layout_is_recognised(self, folder):
        save_file({"visual.conv1.weight": torch.ones(1)}, folder / "model.safetensors")
        with pytest.raises(UserError, match="layout of open_clip"):
            build(folder)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({}, "do not say which architecture"),
            ({"architecture": "vit_tiny_patch16_242"}, "did you mean 'vit_tiny_patch16_224'"),
            ({"architecture": "resnet10t"}, "resnet10t: this is no plain vision transformer"),
            ({"architecture": "vit_tiny_patch16_224", "image_size": 225}, "not filled by patches of 16"),
            ({"architecture": "tiny_vit", "output_layer": 4}, "no block 4"),
            ({"architecture": "tiny_vit", "output_layer": -5}, "no block -5"),
        ],
    )
    def test_geometry(self, options, message):
        with pytest.raises(UserError, match=message):
            build("random", **options)


class TestTransform:
    picture = Image.effect_mandelbrot((50, 40), (-3, -2.5, 2, 2.5), 100).convert("RGB")

    def test_evaluation_resizes_straight_to_the_square(self, folder):
        pixels = build(folder).transform(train=False)(self.picture)
        small = self.picture.resize((32, 32), Image.Resampling.BICUBIC)
        values = torch.frombuffer(bytearray(small.tobytes()), dtype=torch.uint8).reshape(32, 32, 3) / 255
        mean, std = torch.tensor(PREPROCESS["mean"]), torch.tensor(PREPROCESS["std"])
        torch.testing.assert_close(pixels, ((values - mean) / std).permute(2, 0, 1))

    def test_training_is_a_function_of_torchs_seed(self, folder):
        transform = pickle.loads(pickle.dumps(build(folder).transform(train=True)))
        draws = []
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            draws.append(transform(self.picture))
        assert (draws[0].shape, draws[0].dtype) == ((3, 32, 32), torch.float32)
        assert torch.equal(draws[0], draws[1])
        assert not torch.equal(draws[0], draws[2])

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

    def test_vit_g_normalises_as_clip_does(self):
        with torch.device("meta"):
            encoder = build_eva_vit_g(EvaViTGOptions(weights="random"))
        black = encoder.transform(train=False)(Image.new("RGB", (9, 9)))
        want = [0.48145466 / 0.26862954, 0.4578275 / 0.26130258, 0.40821073 / 0.27577711]
        torch.testing.assert_close(black[:, 0, 0], -torch.tensor(want))
