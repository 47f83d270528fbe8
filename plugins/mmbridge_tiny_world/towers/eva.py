"""A second image tower, of EVA-CLIP's layout (timm), trained as `vit` is: the layout of every published BLIP-2."""

import json
from pathlib import Path
from typing import Any

import timm
import torch.nn.functional as F
from open_clip import CLIP
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..drawing import IMAGE_SIZE, PATCH
from .vit import CONFIG, MEAN, STD, ImageTower, train_tower

ARCHITECTURE = "eva_giant_patch14_clip_224"
LAYERS, WIDTH = CONFIG["vision_cfg"]["layers"], CONFIG["vision_cfg"]["width"]
MODEL_ARGS = {
    "img_size": IMAGE_SIZE,
    "patch_size": PATCH,
    "embed_dim": WIDTH,
    "depth": LAYERS,
    "num_heads": WIDTH // CONFIG["vision_cfg"]["head_width"],
    "mlp_ratio": 4.0,
}
FILE = "model.safetensors"


class EvaTower(ImageTower):
    """timm's EVA beside open_clip's text half."""

    def __init__(self) -> None:
        super().__init__()
        self.visual: Any = timm.create_model(
            ARCHITECTURE, pretrained=False, num_classes=0, global_pool="token", **MODEL_ARGS
        )
        self.project = nn.Linear(WIDTH, CONFIG["embed_dim"], bias=False)
        clip = CLIP(**CONFIG)
        del clip.visual
        self.text = clip

    def encode(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        last, (patches,) = self.visual.forward_intermediates(pixels, indices=[LAYERS - 2], output_fmt="NLC")
        return patches, F.normalize(self.project(last[:, 0]), dim=-1)

    def save(self, folder: Path) -> None:
        """Write the visual half in float16 with timm's own configuration."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: tensor.half().contiguous() for name, tensor in self.visual.state_dict().items()}
        save_file(tensors, folder / FILE, {"format": "pt"})
        (folder / FILE).chmod(0o644)
        shown = {"mean": MEAN, "std": STD, "interpolation": "bicubic", "input_size": (3, IMAGE_SIZE, IMAGE_SIZE)}
        config = {"architecture": ARCHITECTURE, "num_classes": 0, "model_args": MODEL_ARGS, "pretrained_cfg": shown}
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")

    def restore(self, folder: Path) -> None:
        self.visual.load_state_dict({name: tensor.float() for name, tensor in load_file(folder / FILE).items()})


def train(folder: Path, steps: int = 1200) -> None:
    """Train the tower and write it as a timm folder."""
    train_tower("eva", EvaTower, folder, steps)
