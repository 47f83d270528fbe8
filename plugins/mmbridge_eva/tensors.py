"""Tensors from timm's files into a tower that may be shorter or wider than the one that was saved."""

import re
from pathlib import Path
from typing import Any

import torch
from mmbridge_registry import UserError
from safetensors import SafetensorError, safe_open
from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor

FILE = "model.safetensors"
SURPLUS = re.compile(r"norm\.|fc_norm\.|head\.|head_dist\.|attn_pool\.|blocks\.(?P<block>\d+)\.")
LAYOUTS = {"vision_model.": "transformers", "visual.": "open_clip", "visual_encoder.": "LAVIS"}


def load_tensors(vit: Any, weights: str, dtype: torch.dtype) -> None:
    """Load a saved timm tower strictly; what was cut off it is dropped by name.

    Raises:
        UserError: the file is missing or unreadable, or its tensors are not this tower's; names them.
    """
    file = find_file(weights)
    tensors = read_tensors(file, kept_blocks=len(vit.blocks))
    wanted = vit.state_dict()
    if (positions := tensors.get("pos_embed")) is not None:
        tensors["pos_embed"] = resize_positions(positions, vit.patch_embed.grid_size, wanted["pos_embed"].shape[1])
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
    vit.load_state_dict({name: tensor.to(dtype) for name, tensor in tensors.items()}, assign=True)


def find_file(weights: str) -> Path:
    """Find the safetensors file that `weights` (a file or a timm folder) means."""
    path = Path(weights)
    if path.is_file() and path.suffix == ".safetensors":
        return path
    if (path / FILE).is_file():
        return path / FILE
    if not path.exists():
        raise UserError("there are no weights here", where=path, do="Check the path, or fetch them beforehand.")
    raise UserError(
        f"there is no {FILE} here (pickled weights are never read)", where=path, do="Save the tensors as safetensors."
    )


def read_tensors(file: Path, kept_blocks: int) -> dict[str, Tensor]:
    """Read the tensors that a tower of `kept_blocks` blocks has."""
    try:
        with safe_open(file, "pt") as saved:
            names = list(saved.keys())
            if not any(name.startswith("blocks.") for name in names):
                raise _other_layout(file, names)
            return {name: saved.get_tensor(name) for name in names if _kept(name, kept_blocks)}
    except SafetensorError as error:
        raise UserError(f"this is no readable safetensors file ({error})", where=file, do="Fetch it again.") from error


def resize_positions(positions: Tensor, grid: tuple[int, int], tokens: int) -> Tensor:
    """Resize positions [1,P+g*g,W] to [1,tokens,W]: the P prefix entries kept, the grid bicubic without antialiasing
    (LAVIS' EVA rule; timm's own default antialiases)."""
    if positions.shape[1] == tokens:
        return positions
    prefix = tokens - grid[0] * grid[1]
    return resample_abs_pos_embed(positions, list(grid), num_prefix_tokens=prefix, antialias=False)


def _kept(name: str, kept_blocks: int) -> bool:
    surplus = SURPLUS.match(name)
    return not surplus or (surplus["block"] is not None and int(surplus["block"]) < kept_blocks)


def _other_layout(file: Path, names: list[str]) -> UserError:
    layout = next((title for prefix, title in LAYOUTS.items() if any(name.startswith(prefix) for name in names)), None)
    is_what = f"it has the layout of {layout}" if layout else f"it begins with '{names[0]}'" if names else "it is empty"
    return UserError(
        f"no tensor is called 'blocks...': {is_what}.",
        where=file,
        do="Give a timm file, such as timm/eva_giant_patch14_clip_224.laion400m has.",
    )
