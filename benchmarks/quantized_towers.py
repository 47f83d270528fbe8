"""What storing frozen towers smaller costs: errors against float32, at a real geometry with random weights.

    python benchmarks/quantized_towers.py blip2_vitl_opt2.7b model.language_model.architecture=opt-350m
    python benchmarks/quantized_towers.py runs/mine/config.resolved.yaml --random no

Per way of storing: bytes of each tower; relative error of the encoder's features; loss of a soft prompt and its error;
error and cosine of the gradient that reaches the soft prompt. All ways see the same pixels, prompts and texts.
"""

import argparse
import json
from collections.abc import Iterator

import torch
from mmbridge_registry import LanguageModel, VisionEncoder
from mmbridge_registry.discovery import discover
from torch import Tensor, nn

from mmbridge.assemble import assemble
from mmbridge.config import load_recipe
from mmbridge.quantizing import is_plain
from mmbridge.recipe import Recipe

WAYS = {
    "bfloat16": ["model.vision_encoder.dtype=bfloat16", "model.language_model.dtype=bfloat16"],
    "int8": ["model.quantize={vision_encoder: int8, language_model: int8}"],
    "float8": ["model.quantize={vision_encoder: float8, language_model: float8}"],
}
RANDOM = (
    "model.vision_encoder.weights=random",
    "model.language_model.weights=random",
    "model.bridge={name: mlp}",  # no bridge is asked here, and this one needs no tokenizer
    "~stages",
    "~data",
    "~evaluate",
)
FLOAT32 = ("model.vision_encoder.dtype=float32", "model.language_model.dtype=float32")
TEXT = "a red bus parks near two small dogs under the old bridge while rain falls on quiet streets"
ROWS, QUERIES = 4, 32


def towers(recipe: Recipe) -> tuple[VisionEncoder, LanguageModel]:
    """Build the two towers of a recipe; random tensors come from its seed, so they are the same in every way."""
    model = assemble(recipe, discover().catalog)
    assert model.language_model is not None
    return model.vision_encoder, model.language_model


def answers(encoder: VisionEncoder, language_model: LanguageModel) -> tuple[Tensor, Tensor, Tensor]:
    """Give features, the loss per token of a soft prompt as large as text, and the gradient that reaches it."""
    draw = torch.Generator().manual_seed(1)
    pixels = torch.randn(ROWS, 3, encoder.image_size, encoder.image_size, generator=draw)
    soft_prompt = torch.randn(ROWS, QUERIES, language_model.width, generator=draw) * language_model.token_scale
    soft_prompt.requires_grad_()
    loss = language_model.loss(soft_prompt, language_model.tokenizer([""] * ROWS, [TEXT] * ROWS))
    mean = loss.total / loss.count
    (gradient,) = torch.autograd.grad(mean, soft_prompt)
    with torch.no_grad():
        return encoder(pixels).float(), mean.detach(), gradient.float()


def stored(module: nn.Module) -> int:
    """Add up the bytes of a module's tensors."""
    return sum(one.nbytes for tensor in module.parameters() for one in _inner(tensor.data))


def _inner(tensor: Tensor) -> Iterator[Tensor]:
    if is_plain(tensor):
        yield tensor
    else:
        yield from (getattr(tensor, name) for name in tensor.__tensor_flatten__()[0])  # type: ignore[attr-defined]


def error(tensor: Tensor, reference: Tensor) -> float:
    """Relative error by the norm."""
    return float((tensor - reference).norm() / reference.norm())


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--random", choices=("yes", "no"), default="yes", help="replace all weights by random ones")
    arguments = parser.parse_args()
    overrides = [*(RANDOM if arguments.random == "yes" else ()), *arguments.overrides, *FLOAT32]
    ways, reference = {}, None
    for way, changes in {"float32": [], **WAYS}.items():
        encoder, language_model = towers(load_recipe(arguments.config, [*overrides, *changes], discover()))
        features, loss, gradient = answers(encoder, language_model)
        reference = reference or (features, loss, gradient)
        ways[way] = {
            "vision_encoder_bytes": stored(encoder),
            "language_model_bytes": stored(language_model),
            "features_error": error(features, reference[0]),
            "loss": float(loss),
            "loss_error": error(loss, reference[1]),
            "gradient_error": error(gradient, reference[2]),
            "gradient_cosine": float(torch.cosine_similarity(gradient.flatten(), reference[2].flatten(), dim=0)),
        }
    print(json.dumps({"config": arguments.config, "torch": torch.__version__, "ways": ways}, indent=1))


if __name__ == "__main__":
    main()
