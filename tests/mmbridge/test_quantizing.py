"""Quantising: close to the whole tower, smaller, and with a gradient that still points the right way."""

from pathlib import Path

import pytest
import torch
from mmbridge_registry.discovery import discover
from toys.parts import CONFIG, discovered
from toys.placed import one_step, recipe_of

from mmbridge.assemble import assemble
from mmbridge.collectives import Collectives
from mmbridge.config import ConfigError, load_recipe
from mmbridge.memory import saved_by_quantizing
from mmbridge.quantizing import is_plain


@pytest.mark.parametrize("bits", ["int8", "float8"])
def test_a_quantized_tower_is_one_whose_weights_were_rounded(bits: str) -> None:
    pytest.importorskip("torchao")
    found, plain = discover(), recipe_of("blip2_tiny_opt")  # with an EVA, whose attention gives weights by name
    coarse = recipe_of("blip2_tiny_opt", f"model.quantize={{language_model: {bits}, vision_encoder: {bits}}}")
    rounded, quantized = assemble(plain, found.catalog), assemble(coarse, found.catalog)
    changed = 0
    with torch.no_grad():
        for name, parameter in quantized.named_parameters():
            if not is_plain(parameter):
                before = rounded.get_parameter(name).clone()
                rounded.get_parameter(name).copy_(parameter.data.dequantize())
                error = (rounded.get_parameter(name) - before).norm() / before.norm()
                assert 0 < error < {"int8": 0.02, "float8": 0.05}[bits], name
                changed += 1
    assert changed > 30
    loss, gradients, _ = one_step(Collectives(), plain, "generation", model=rounded)
    same_loss, same, _ = one_step(Collectives(), coarse, "generation", model=quantized)
    torch.testing.assert_close(same_loss, loss, rtol=1e-4, atol=0)
    one, other = (torch.cat([tensor.flatten() for tensor in each.values()]) for each in (gradients, same))
    assert set(same) == set(gradients) and (one - other).norm() < 1e-3 * one.norm()


@pytest.mark.parametrize("bits", ["int8", "float8"])
@pytest.mark.parametrize("autocast", [False, True])
def test_no_full_weights_are_kept_for_the_way_back(bits: str, autocast: bool) -> None:
    pytest.importorskip("torchao")
    found, kept = discover(), []
    for overrides in ([], [f"model.quantize.language_model={bits}"]):
        model = assemble(recipe_of("blip2_tiny_opt", *overrides), found.catalog).language_model
        assert model is not None
        own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters() if is_plain(parameter)}
        storages: dict[int, int] = {}

        def note(tensor: torch.Tensor, own: set[int] = own, storages: dict[int, int] = storages) -> torch.Tensor:
            if is_plain(tensor) and tensor.untyped_storage().data_ptr() not in own:
                storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        soft_prompt = (torch.randn(2, 4, model.width) * model.token_scale).requires_grad_()
        with (
            torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
            torch.autocast("cpu", torch.bfloat16, enabled=autocast),
        ):
            loss = model.loss(soft_prompt, model.tokenizer(["", ""], ["a red circle", "two"]))
        loss.total.backward()
        assert soft_prompt.grad is not None and soft_prompt.grad.dtype == torch.float32
        kept.append(sum(storages.values()))
    # Under autocast a plain tower keeps its weights in bfloat16; a quantised one keeps none at all.
    assert kept[1] <= kept[0]


def test_it_takes_the_bytes_that_a_plan_says() -> None:
    pytest.importorskip("torchao")
    found = discover()
    recipe = recipe_of("blip2_tiny", "model.quantize.language_model=int8")
    plain = assemble(recipe_of("blip2_tiny"), found.catalog).language_model
    coarse = assemble(recipe, found.catalog).language_model
    assert plain is not None and coarse is not None

    def stored(tensor: torch.Tensor) -> int:
        if is_plain(tensor):
            return tensor.nbytes
        inner = (getattr(tensor.data, name) for name in tensor.data.__tensor_flatten__()[0])  # type: ignore[attr-defined]
        return sum(one.nbytes for one in inner)

    expected = sum(map(stored, plain.parameters())) - saved_by_quantizing(plain)
    assert sum(map(stored, coarse.parameters())) == pytest.approx(expected, rel=0.01)
    assert sum(not is_plain(parameter) for parameter in coarse.parameters()) > 10


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["model.quantize.bridge=int8"], "model.quantize.bridge: quantizing has no option 'bridge'"),
        (["model.quantize.language_model=int3"], "model.quantize.language_model"),
        (["model.quantize.vision_encoder=int8", "stages.generation.train=[bridge, vision_encoder]"],
         "stages.generation.train: this stage trains the vision_encoder, whose weights model.quantize makes coarse."),
        (["model.quantize.language_model=int8", "~model.language_model"], "the model has no language_model to"),
        (["model.quantize.language_model=int8", "run.placement=shard"], "run.placement: the language_model is stored"),
        (["run.placement=shard", "stages.generation.train=[bridge, language_model]"],
         "run.placement: stage 'generation' trains the language_model, and only what all stages leave frozen"),
        (["model.vision_encoder.dtype=bfloat16", "stages.generation.train=[bridge, vision_encoder]"],
         "vision_encoder is stored in bfloat16, in which small updates are rounded away. Set"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_before_anything_is_built(tmp_path: Path, overrides: list[str], said: str) -> None:
    pytest.importorskip("torchao")
    path = tmp_path / "c.yaml"
    path.write_text(CONFIG)
    with pytest.raises(ConfigError) as caught:
        load_recipe(path, overrides, discovered())
    assert said in str(caught.value)


def test_a_missing_library_is_named_before_anything_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmbridge.config.towers.is_installed", lambda: False)
    path = tmp_path / "c.yaml"
    path.write_text(CONFIG)
    with pytest.raises(ConfigError, match=r"torchao is not installed.*pip install 'mmbridge\[quantize\]'"):
        load_recipe(path, ["model.quantize.language_model=int8"], discovered())
