"""Tensors from open_clip's files into a tower that may be shorter or wider than the one that was saved."""

import re
from pathlib import Path

import torch
from mmbridge_registry import UserError
from open_clip.transformer import VisionTransformer
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.nn import functional as F

FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "model.safetensors")
PREFIX = "visual."
SURPLUS = re.compile(r"ln_post\.|proj$|attn_pool|transformer\.resblocks\.(?P<block>\d+)\.")
LAYOUTS = {"vision_model.": "transformers", "blocks.": "timm", "visual_encoder.": "LAVIS"}


def load_tensors(visual: VisionTransformer, weights: str, dtype: torch.dtype) -> None:
    """Load the image half of a saved CLIP strictly; what was cut off the tower is dropped by name.

    Raises:
        UserError: the file is missing or unreadable, or its tensors are not this tower's; names them.
    """
    file = find_file(weights)
    tensors = read_tensors(file, kept_blocks=len(visual.transformer.resblocks))
    wanted = visual.state_dict()
    if (positions := tensors.get("positional_embedding")) is not None:
        tensors["positional_embedding"] = resize_positions(positions, wanted["positional_embedding"].shape[0])
    wrong = [
        *(f"{name} is missing" for name in wanted.keys() - tensors.keys()),
        *(f"{name} is unknown" for name in tensors.keys() - wanted.keys()),
        *(
            f"{name} is {list(tensors[name].shape)}, not {list(wanted[name].shape)}"
            for name in wanted.keys() & tensors.keys()
            if tensors[name].shape != wanted[name].shape
        ),
    ]
    if wrong:
        rest = f" and {len(wrong) - 4} more" if len(wrong) > 4 else ""
        raise UserError(
            f"tensors are not those of this tower: {'; '.join(sorted(wrong)[:4])}{rest}.",
            where=file,
            do="Check architecture and weights.",
        )
    visual.load_state_dict({name: tensor.to(dtype) for name, tensor in tensors.items()}, assign=True)


def find_file(weights: str) -> Path:
    """Find the safetensors file that `weights` (a file or an open_clip folder) means."""
    path = Path(weights)
    if path.is_file() and path.suffix == ".safetensors":
        return path
    for name in FILES:
        if (path / name).is_file():
            return path / name
    if not path.exists():
        raise UserError("there are no weights here", where=path, do="Check the path, or fetch them beforehand.")
    raise UserError(
        f"there is no {FILES[0]} here (pickled weights are never read)",
        where=path,
        do="Save the tensors as safetensors.",
    )


def read_tensors(file: Path, kept_blocks: int) -> dict[str, Tensor]:
    """Read the tensors of the image half that a tower of `kept_blocks` blocks has, without their prefix."""
    try:
        with safe_open(file, "pt") as saved:
            names = [name for name in saved.keys() if name.startswith(PREFIX)]  # noqa: SIM118 (no mapping)
            if not names:
                raise _no_image_half(file, list(saved.keys()))
            return {short: saved.get_tensor(PREFIX + short) for short in _kept(names, kept_blocks)}
    except SafetensorError as error:
        raise UserError(f"this is no readable safetensors file ({error})", where=file, do="Fetch it again.") from error


def resize_positions(positions: Tensor, tokens: int) -> Tensor:
    """Resize positions [1+g*g,W] to [tokens,W]: [CLS] kept, the grid bicubic with aligned corners (LAVIS' rule)."""
    if positions.shape[0] == tokens:
        return positions
    old, new = (round((count - 1) ** 0.5) for count in (positions.shape[0], tokens))
    grid = positions[1:].float().reshape(1, old, old, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=(new, new), mode="bicubic", align_corners=True)
    return torch.cat([positions[:1].float(), grid.permute(0, 2, 3, 1).flatten(1, 2)[0]])


def _kept(names: list[str], kept_blocks: int) -> list[str]:
    shorts = [name.removeprefix(PREFIX) for name in names]
    found = [(short, SURPLUS.match(short)) for short in shorts]
    return [short for short, match in found if not match or (match["block"] and int(match["block"]) < kept_blocks)]


def _no_image_half(file: Path, names: list[str]) -> UserError:
    layout = next((title for prefix, title in LAYOUTS.items() if any(name.startswith(prefix) for name in names)), None)
    is_what = f"it has the layout of {layout}" if layout else f"it begins with '{names[0]}'" if names else "it is empty"
    return UserError(
        f"no tensor is called '{PREFIX}...': {is_what}.",
        where=file,
        do="Give an open_clip file, such as timm/vit_large_patch14_clip_224.openai has.",
    )
